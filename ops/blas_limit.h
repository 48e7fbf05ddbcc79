#pragma once
#include <cstdint>
#include <optional>

#include "ops/gemm.h"

namespace sinter {

// Seconds that OpenBLAS itself takes, on `threads` threads of its own, for c[m, n] = a[m, k] · op(b) in f32: the limit
// that the engine's products are measured against. op(b) is b[k, n], or the transpose of b[n, k]. Nothing in a build
// without OpenBLAS. Afterwards it works on one thread again, as the engine needs it. Never inside parallel_for.
std::optional<double> blas_sgemm_seconds(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b,
                                         Trans trans_b, float* c, int threads);

}  // namespace sinter
