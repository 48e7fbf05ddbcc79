#include <openblas-pthread/cblas.h>

#include "ops/gemm_tile.h"

namespace sinter {
namespace {

// Its own threading changes bits from one thread count to another; ours calls it on tiles.
void one_thread() { [[maybe_unused]] static const bool set = (openblas_set_num_threads(1), true); }
CBLAS_TRANSPOSE side(Trans t) { return t == Trans::no ? CblasNoTrans : CblasTrans; }

}  // namespace

void blas_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<float> a, Factor<float> b, float beta,
                  float* c, std::int64_t ldc) {
  one_thread();
  cblas_sgemm(CblasRowMajor, side(a.trans), side(b.trans), int(m), int(n), int(k), 1.f, a.data, int(a.stride), b.data,
              int(b.stride), beta, c, int(ldc));
}
void blas_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<double> a, Factor<double> b, double beta,
                  double* c, std::int64_t ldc) {
  one_thread();
  cblas_dgemm(CblasRowMajor, side(a.trans), side(b.trans), int(m), int(n), int(k), 1., a.data, int(a.stride), b.data,
              int(b.stride), beta, c, int(ldc));
}

}  // namespace sinter
