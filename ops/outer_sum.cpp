#include "ops/outer_sum.h"

#include <algorithm>

#include "core/parallel.h"
#include "ops/cached_product.h"
#include "ops/transpose.h"

namespace sinter {
namespace {

constexpr std::int64_t kTile = kPanelCols;

// The tile at rows i0.., columns j0.. -> the place of its transpose; of a tile on the diagonal, what is above it.
template <class T>
void mirror_tile(T* c, std::int64_t ldc, std::int64_t i0, std::int64_t i1, std::int64_t j0, std::int64_t j1) {
  if (i0 < j0) return copy_transposed(c + i0 * ldc + j0, ldc, i1 - i0, j1 - j0, c + j0 * ldc + i0, ldc);
  for (std::int64_t to = j0; to < j1; ++to)
    for (std::int64_t from = i0; from < to; ++from) c[to * ldc + from] = c[from * ldc + to];
}

}  // namespace

template <class T>
void pack_panels(const ConstView& x, T* panels) {
  const std::int64_t k = x.rows(), n = x.cols();
  parallel_for(panels_of(n), 1, [&](std::int64_t panel, std::int64_t) {
    const std::int64_t begin = panel * kTile, width = std::min(kTile, n - begin);
    for (std::int64_t p = 0; p < k; ++p)
      std::copy_n(&x.row<T>(p)[std::size_t(begin)], width, panels + (panel * k + p) * kTile);
  });
}

template <class T>
void add_outer_sum(T* c, std::int64_t ldc, std::int64_t n, const T* panels, std::int64_t k, bool mirror) {
  const std::int64_t tiles = panels_of(n);
  parallel_for(tiles * tiles, 1, [&](std::int64_t t, std::int64_t) {
    const std::int64_t down = t / tiles, across = t % tiles;
    if (down > across) return;
    const std::int64_t i0 = down * kTile, i1 = std::min(n, i0 + kTile), j0 = across * kTile,
                       j1 = std::min(n, j0 + kTile);
    const CachedFactor<T> left{panels + down * k * kTile, 1, kTile};
    const T* const right = panels + across * k * kTile;
    if (down < across) {
      cached_product(i1 - i0, j1 - j0, k, left, right, kTile, c + i0 * ldc + j0, ldc, true);
    } else {
      Tensor whole = Tensor::empty({i1 - i0, j1 - j0}, dtype_of<T>);
      T* const p = whole.mutable_data<T>().data();
      cached_product(i1 - i0, j1 - j0, k, left, right, kTile, p, j1 - j0, false);
      for (std::int64_t i = i0; i < i1; ++i)
        for (std::int64_t j = i; j < j1; ++j) c[i * ldc + j] += p[(i - i0) * (j1 - j0) + j - j0];
    }
    if (mirror) mirror_tile(c, ldc, i0, i1, j0, j1);
  });
}

template void pack_panels(const ConstView&, float*);
template void pack_panels(const ConstView&, double*);
template void add_outer_sum(float*, std::int64_t, std::int64_t, const float*, std::int64_t, bool);
template void add_outer_sum(double*, std::int64_t, std::int64_t, const double*, std::int64_t, bool);

}  // namespace sinter
