#include "ops/cached_product.h"

#include <algorithm>

#include "ops/isa/kernels.h"

namespace sinter {
namespace {

template <class T>
void by_blas(std::int64_t m, std::int64_t n, std::int64_t k, CachedFactor<T> a, const T* b, std::int64_t ldb, T* c,
             std::int64_t ldc, bool add) {
  if (m == 0 || n == 0) return;
  // A single row or column has no stride of its own, but a BLAS checks it.
  const Factor<T> A =
      a.row == 1 ? Factor<T>{a.data, std::max(a.col, m), Trans::yes} : Factor<T>{a.data, std::max(a.row, k), Trans::no};
  blas_product(m, n, k, A, Factor<T>{b, ldb, Trans::no}, T(add), c, ldc);
}

}  // namespace

void cached_product(std::int64_t m, std::int64_t n, std::int64_t k, CachedFactor<float> a, const float* b,
                    std::int64_t ldb, float* c, std::int64_t ldc, bool add) {
  const std::int64_t rows = m / 8 * 8, cols = n / 16 * 16;
  if (rows > 0 && cols > 0) cpu_kernels().tile_product(rows, cols, k, a.data, a.row, a.col, b, ldb, c, ldc, add);
  by_blas<float>(rows, n - cols, k, a, b + cols, ldb, c + cols, ldc, add);
  by_blas<float>(m - rows, n, k, {a.data + rows * a.row, a.row, a.col}, b, ldb, c + rows * ldc, ldc, add);
}

void cached_product(std::int64_t m, std::int64_t n, std::int64_t k, CachedFactor<double> a, const double* b,
                    std::int64_t ldb, double* c, std::int64_t ldc, bool add) {
  by_blas(m, n, k, a, b, ldb, c, ldc, add);
}

}  // namespace sinter
