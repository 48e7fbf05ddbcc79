#pragma once
#include <optional>
#include <vector>

#include "ops/frozen_weight.h"

namespace sinter {

// What every integer format says of a linear: w_ij = scale_ig · (code_ij − zero_ig), g the group of column j. The form
// in which they are translated into each other: one code per byte, columns in the order of the layer's inputs.
struct GridLinear {
  int bits = 4;  // 2, 3, 4 or 8; codes and zeros are below 2^bits
  std::int64_t group = 0;  // columns of a group; the last one may be short
  Tensor codes;  // u8 [m, n]
  Tensor scale;  // f16 or f32 [m, G], finite
  Tensor zero;  // u8 [m, G]
  std::vector<std::int32_t> group_of;  // [n], the group of each column (act-order); empty: j / group
};

bool is_symmetric(const GridLinear&);  // every zero is 2^(bits − 1)

// grouped_int, or dense f32 of the same values where group_of does not give every group `group` columns.
Packed to_packed(GridLinear);
// Of grouped_int, and of bitmap and n_of_m with codes, where a pruned weight gets the code of its zero. Nothing for
// weights that are floats.
std::optional<GridLinear> from_packed(const Packed&);

// f16 where that is exact, else f32.
Tensor grid_scale(const Tensor&);

}  // namespace sinter
