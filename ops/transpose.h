#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>

namespace sinter {

// to[c·ldt + r] = f(from[r·ldf + c]) for r < rows, c < cols, through a small patch in between: rows that lie a power of
// two apart push one another out of the cache, so each is touched only once.
template <class A, class B, class F = std::identity>
void copy_transposed(const A* from, std::int64_t ldf, std::int64_t rows, std::int64_t cols, B* to, std::int64_t ldt,
                     F f = {}) {
  constexpr std::int64_t kPatch = 16;
  for (std::int64_t r0 = 0; r0 < rows; r0 += kPatch)
    for (std::int64_t c0 = 0; c0 < cols; c0 += kPatch) {
      const std::int64_t height = std::min(kPatch, rows - r0), width = std::min(kPatch, cols - c0);
      A patch[kPatch][kPatch];
      for (std::int64_t r = 0; r < height; ++r) std::copy_n(from + (r0 + r) * ldf + c0, width, patch[r]);
      for (std::int64_t c = 0; c < width; ++c)
        for (std::int64_t r = 0; r < height; ++r) to[(c0 + c) * ldt + r0 + r] = B(f(patch[r][c]));
    }
}

}  // namespace sinter
