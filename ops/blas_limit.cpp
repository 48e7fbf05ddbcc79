#include "ops/blas_limit.h"

#ifdef SINTER_OPENBLAS
#include <openblas-pthread/cblas.h>

#include <chrono>
#endif

namespace sinter {

#ifdef SINTER_OPENBLAS

std::optional<double> blas_sgemm_seconds(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b,
                                         Trans trans_b, float* c, int threads) {
  struct Threads {
    explicit Threads(int n) { openblas_set_num_threads(n); }
    ~Threads() { openblas_set_num_threads(1); }
  } const own(threads);
  const bool t = trans_b == Trans::yes;
  const auto start = std::chrono::steady_clock::now();
  cblas_sgemm(CblasRowMajor, CblasNoTrans, t ? CblasTrans : CblasNoTrans, int(m), int(n), int(k), 1.f, a, int(k), b,
              int(t ? k : n), 0.f, c, int(n));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

#else

std::optional<double> blas_sgemm_seconds(std::int64_t, std::int64_t, std::int64_t, const float*, const float*, Trans,
                                         float*, int) {
  return std::nullopt;
}

#endif

}  // namespace sinter
