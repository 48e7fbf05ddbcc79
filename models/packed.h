#pragma once
#include <span>

#include "ops/frozen_weight.h"

// How frozen weights meet the disk. A weight is a Packed: a tag that names the layout and is never given to another one,
// a version that counts up when a layout grows, integer fields, and tensors. A reader refuses a tag that it does not
// know, a version newer than its own, and any field or tensor that the layout does not name. Tensors are row-major,
// integers little-endian; m = out_features, n = in_features.
//
// dense, version 1
//   weight  f64, f32, f16 or bf16 [m, n]
//
// grouped_int, version 1: w_ij = scale_ig · (code_ij − zero_ig), g = j / group
//   fields  bits b = 2, 3, 4 or 8; group = 1..n columns that share a scale, the last group may be short; cols = n
//   codes   u8 [m, ceil(n·b / 8)]; row i is a bit stream of its own, lowest bit of the lowest byte first: code j stands
//           at bits b·j .. b·j + b − 1; bits behind the last code are 0
//   scale   f32 [m, G], G = ceil(n / group), finite
//   zero    u8 [m, G], below 2^b, as it is (no offset of one)
//   order   i32 [n], optional, a permutation: column j of the stored matrix is column order[j] of the weight
namespace sinter {

struct WeightFormat {
  std::string_view tag;
  int version;  // the newest it reads
  FrozenWeightPtr (*load)(const Packed&);  // rejects what it does not understand
};
std::span<const WeightFormat> weight_formats();

// Error(input) naming `name` for an unknown tag, a newer version, or parts that do not fit the layout.
FrozenWeightPtr load_packed(const Packed&, std::string_view name);

}  // namespace sinter
