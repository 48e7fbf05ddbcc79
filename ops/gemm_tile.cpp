#include "ops/gemm_tile.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/isa/kernels.h"

namespace sinter {
namespace {

// c += a·b or a·bᵀ for few rows a [m, k]: b is read once, in its own order.
void few_rows_add(std::int64_t m, std::int64_t n, std::int64_t k, Factor<float> a, Factor<float> b, float* c,
                  std::int64_t ldc) {
  const CpuKernels& isa = cpu_kernels();
  if (b.trans == Trans::no) return isa.add_rows_f32(a.data, a.stride, int(m), b.data, b.stride, k, n, c, ldc);
  std::vector<float> p(std::size_t(m * n));
  isa.dot_rows_f32(a.data, a.stride, int(m), b.data, b.stride, n, k, p.data(), n);
  for (std::int64_t i = 0; i < m; ++i) isa.add(c + i * ldc, p.data() + i * n, n);
}

void few_rows(std::int64_t m, std::int64_t n, std::int64_t k, Factor<float> a, Factor<float> b, float beta, float* c,
              std::int64_t ldc) {
  if (beta == 0 && b.trans == Trans::yes)
    return cpu_kernels().dot_rows_f32(a.data, a.stride, int(m), b.data, b.stride, n, k, c, ldc);
  start_tile(m, n, c, ldc, beta);
  few_rows_add(m, n, k, a, b, c, ldc);
}

template <class T>
void plain_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<T> a, Factor<T> b, T beta, T* c,
                   std::int64_t ldc) {
  if constexpr (std::is_same_v<T, float>) {
    if (m <= kFewRows && a.trans == Trans::no) return few_rows(m, n, k, a, b, beta, c, ldc);
  }
  blas_product(m, n, k, a, b, beta, c, ldc);
}

// gelu(v) = v·Φ(v), by the complementary error function so that the left tail does not cancel.
template <class T>
void activate(std::span<T> row, Activation a) {
  if (a == Activation::relu) {
    for (T& v : row) v = v < 0 ? T(0) : v;
  } else if (a == Activation::gelu) {
    for (T& v : row) v *= T(0.5) * std::erfc(v * T(-0.70710678118654752440));
  } else if (a == Activation::silu) {
    if constexpr (std::is_same_v<T, float>) {
      cpu_kernels().silu(row.data(), row.data(), std::int64_t(row.size()));
    } else {
      for (T& v : row) v /= 1 + std::exp(-v);
    }
  }
}

template <class T>
void finish(std::int64_t m, std::int64_t n, T* c, std::int64_t ldc, const TileEpilogue<T>& e) {
  if (e.bias.empty() && e.activation == Activation::none) return;
  for (std::int64_t i = 0; i < m; ++i) {
    const std::span<T> row(c + i * ldc, std::size_t(n));
    for (std::size_t j = 0; j < e.bias.size(); ++j) row[j] += e.bias[j];
    activate(row, e.activation);
  }
}

}  // namespace

void start_tile(std::int64_t m, std::int64_t n, float* c, std::int64_t ldc, float beta) {
  for (std::int64_t i = 0; i < m; ++i) {
    if (beta == 0) std::fill_n(c + i * ldc, n, 0.f);
    else if (beta != 1) cpu_kernels().scale(c + i * ldc, beta, n);
  }
}

template <class T>
void merge_tile(std::int64_t m, std::int64_t n, T* p, std::int64_t ldp, T* c, std::int64_t ldc,
                const TileEpilogue<T>& e) {
  finish(m, n, p, ldp, e);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      T& v = c[i * ldc + j];
      v = e.beta == 0 ? p[i * ldp + j] : e.beta * v + p[i * ldp + j];
    }
}

template <class T>
void tile_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<T> a, Factor<T> b, T* c, std::int64_t ldc,
                  const TileEpilogue<T>& e) {
  if (e.beta == 0 || e.activation == Activation::none) {
    plain_product(m, n, k, a, b, e.beta, c, ldc);
    return finish(m, n, c, ldc, e);
  }
  std::vector<T> p(std::size_t(m * n));  // the old values may not pass through the activation
  plain_product(m, n, k, a, b, T(0), p.data(), n);
  merge_tile(m, n, p.data(), n, c, ldc, e);
}

template void merge_tile(std::int64_t, std::int64_t, float*, std::int64_t, float*, std::int64_t,
                         const TileEpilogue<float>&);
template void tile_product(std::int64_t, std::int64_t, std::int64_t, Factor<float>, Factor<float>, float*, std::int64_t,
                           const TileEpilogue<float>&);
template void tile_product(std::int64_t, std::int64_t, std::int64_t, Factor<double>, Factor<double>, double*,
                           std::int64_t, const TileEpilogue<double>&);

}  // namespace sinter
