#pragma once
#include <span>

#include "train/compress/obs.h"

namespace sinter {

// How the columns of a sweep stand to those of the weight.
struct SweepOrder {
  std::span<const std::int64_t> order;  // column k of the sweep is this one of the weight; empty: itself
  std::span<const std::int64_t> group_of;  // the grid group of column k of the sweep; empty: k / group
  int bits = 0;  // 0: no grid
};

// The test of a sweep against doing without it: for 16 rows spread over w [m, n],
//   tr(D H Dᵀ) of the sweep / tr(D H Dᵀ) of the same zeros and grids with every other weight kept or rounded as it was.
// 0 where the latter loses nothing. Two products of 16 rows.
double over_plain(const Tensor& w, const ObsResult&, const SweepOrder&, const Tensor& gram);

}  // namespace sinter
