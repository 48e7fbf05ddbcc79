#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/parallel.h"
#include "core/tensor.h"
#include "ops/isa/kernels.h"

// What the CPU kernels of pointwise and row-wise ops share: loops over one row, and ways to split rows between threads.
namespace sinter {

inline constexpr std::int64_t kChunk = 16384;  // elements a thread takes at a time; less runs inline

// y_i = f(a_i...), in blocks whose length the compiler knows, so that it vectorises without -O3.
template <class T, class F, class... In>
void map_row(T* __restrict y, std::int64_t n, F f, const In* __restrict... a) {
  constexpr std::int64_t kBlock = 16;
  std::int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock)
    for (std::int64_t j = i; j < i + kBlock; ++j) y[j] = f(a[j]...);
  for (; i < n; ++i) y[i] = f(a[i]...);
}

// y_i = f(a_i...) over whole tensors of one type, split between threads.
template <class T, class F, class... In>
void map_all(Tensor& y, F f, const In&... a) {
  T* out = y.mutable_data<T>().data();
  parallel_for(y.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
    map_row(out + begin, end - begin, f, (a.template data<T>().data() + begin)...);
  });
}

// The row loops of CpuKernels under one name for both types: f32 through the table, f64 plain.
inline float row_dot(const float* x, const float* y, std::int64_t n) { return cpu_kernels().dot(x, y, n); }
inline float row_sum(const float* x, std::int64_t n) { return cpu_kernels().sum(x, n); }
inline void row_axpy(float* y, float a, const float* x, std::int64_t n) { cpu_kernels().axpy(y, a, x, n); }
inline void row_scale(float* y, float a, std::int64_t n) { cpu_kernels().scale(y, a, n); }
inline void row_add(float* y, const float* x, std::int64_t n) { cpu_kernels().add(y, x, n); }
inline void row_mul(float* y, const float* a, const float* b, std::int64_t n) { cpu_kernels().mul(y, a, b, n); }

inline float row_max(const float* x, std::int64_t n) { return cpu_kernels().max(x, n); }
// x = exp(x − shift); the sum.
inline float row_exp(float* x, float shift, std::int64_t n) { return cpu_kernels().exp_sum(x, x, 1, shift, n); }

inline double row_dot(const double* x, const double* y, std::int64_t n) {
  double s = 0;
  for (std::int64_t i = 0; i < n; ++i) s += x[i] * y[i];
  return s;
}
inline double row_sum(const double* x, std::int64_t n) {
  double s = 0;
  for (std::int64_t i = 0; i < n; ++i) s += x[i];
  return s;
}
inline void row_axpy(double* y, double a, const double* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}
inline void row_scale(double* y, double a, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] *= a;
}
inline void row_add(double* y, const double* x, std::int64_t n) { row_axpy(y, 1, x, n); }
inline void row_mul(double* y, const double* a, const double* b, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
}

inline double row_max(const double* x, std::int64_t n) {
  double m = -INFINITY;
  for (std::int64_t i = 0; i < n; ++i) m = std::max(m, x[i]);
  return m;
}
inline double row_exp(double* x, double shift, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - shift);
  return sum;
}

// Rows per chunk, so that a chunk is worth a thread.
inline std::int64_t row_grain(std::int64_t cols) {
  return std::max<std::int64_t>(1, kChunk / std::max<std::int64_t>(cols, 1));
}

// Runs body(begin, end, sum) over chunks of rows; each chunk adds its share to a `sum` of total.size() elements, and
// the shares are added to `total` (overwritten) in order: the same bits for any number of threads.
template <class T, class Body>
void rows_with_sum(std::int64_t rows, std::int64_t cols, std::span<T> total, Body body) {
  constexpr std::int64_t kShares = 64;  // bounds the memory of the shares
  const auto width = std::int64_t(total.size());
  const std::int64_t grain = std::max(row_grain(cols), (rows + kShares - 1) / kShares);
  std::ranges::fill(total, T(0));
  if (width == 0 || rows <= grain) {
    parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) { body(begin, end, total.data()); });
    return;
  }
  const std::int64_t shares = (rows + grain - 1) / grain;
  Tensor parts = Tensor::zeros({shares, width}, dtype_of<T>);
  T* share = parts.mutable_data<T>().data();
  parallel_for(rows, grain,
               [&](std::int64_t begin, std::int64_t end) { body(begin, end, share + begin / grain * width); });
  for (std::int64_t s = 0; s < shares; ++s) row_add(total.data(), share + s * width, width);
}

}  // namespace sinter
