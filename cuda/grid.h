#pragma once
#include <algorithm>
#include <cstdint>

#include "core/half.h"  // SINTER_HOST_DEVICE

// How many blocks and threads a kernel gets. Plain arithmetic on the shape, never on the card, so that a sum is split
// the same way everywhere; tested on the host.
namespace sinter::cuda {

struct Grid {
  unsigned x = 0, y = 1;  // blocks
  unsigned threads = 0;  // of a block, a multiple of the warp
  constexpr bool empty() const { return x == 0 || y == 0; }
};

inline constexpr std::int64_t kWarp = 32, kThreads = 256;
inline constexpr std::int64_t kMaxBlocks = 4096;  // some waves on any card; grid-stride loops do the rest
inline constexpr std::int64_t kMaxGridY = 65535;  // CUDA's limit

SINTER_HOST_DEVICE constexpr std::int64_t ceil_div(std::int64_t n, std::int64_t by) { return n / by + (n % by != 0); }

// n elements, a thread each; beyond kMaxBlocks a thread takes several, in steps of the whole grid.
constexpr Grid elements_grid(std::int64_t n) {
  return {unsigned(std::min(ceil_div(n, kThreads), kMaxBlocks)), 1, unsigned(kThreads)};
}

// Columns along x, a thread each; rows along y, beyond kMaxGridY in steps of the grid.
constexpr Grid matrix_grid(std::int64_t rows, std::int64_t cols) {
  return {unsigned(ceil_div(cols, kThreads)), unsigned(std::min(rows, kMaxGridY)), unsigned(kThreads)};
}

// Rows in contiguous parts, the first ones of `each` rows, none empty: a block works through a part.
struct RowSplit {
  std::int64_t rows = 0, each = 1;
  SINTER_HOST_DEVICE constexpr std::int64_t parts() const { return ceil_div(rows, each); }
  SINTER_HOST_DEVICE constexpr std::int64_t begin(std::int64_t part) const { return part * each; }
  SINTER_HOST_DEVICE constexpr std::int64_t end(std::int64_t part) const {
    return rows - begin(part) < each ? rows : begin(part) + each;
  }
};
constexpr RowSplit split_rows(std::int64_t rows, std::int64_t most_parts) {
  return {rows, std::max<std::int64_t>(1, ceil_div(rows, most_parts))};
}

// A block per part, as many threads as a row has columns, up to kThreads.
constexpr Grid rows_grid(RowSplit split, std::int64_t cols) {
  const std::int64_t warps = std::clamp<std::int64_t>(ceil_div(cols, kWarp), 1, kThreads / kWarp);
  return {unsigned(split.parts()), 1, unsigned(warps * kWarp)};
}

}  // namespace sinter::cuda
