#pragma once
#include "ops/gemm_tile.h"

namespace sinter {

// A factor by pointer whose element (i, p) is data[i·row + p·col]; one of the two strides is 1.
template <class T>
struct CachedFactor {
  const T* data;
  std::int64_t row, col;
};

// c = a·b, or c += a·b where `add`, of matrices that lie in cache, on this thread: a [m, k]; b [k, n] and c [m, n]
// row-major. Whole parts of 8 rows and 16 columns go to the kernel of the instruction set, the rest to the BLAS.
void cached_product(std::int64_t m, std::int64_t n, std::int64_t k, CachedFactor<float> a, const float* b,
                    std::int64_t ldb, float* c, std::int64_t ldc, bool add);
void cached_product(std::int64_t m, std::int64_t n, std::int64_t k, CachedFactor<double> a, const double* b,
                    std::int64_t ldb, double* c, std::int64_t ldc, bool add);

}  // namespace sinter
