#pragma once
#include <memory>
#include <vector>

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "ops/gemm.h"
#include "ops/linalg.h"
#include "test/check.h"
#include "train/compress/method.h"
#include "train/compress/obs.h"

// Linears to compress, and plain formulas to compare with.
namespace sinter::test {

// Correlated inputs x = z (I + A / √n) with a few loud channels, [tokens, n].
inline Tensor correlated_inputs(std::int64_t tokens, std::int64_t n, std::uint64_t stream, DType dtype = DType::f64) {
  Tensor mix = randn({n, n}, stream + 1);
  for (auto& v : mix.mutable_data<double>()) v /= std::sqrt(double(n));
  for (std::int64_t j = 0; j < n; ++j) mix.mutable_data<double>()[std::size_t(j * n + j)] += 1;
  Tensor x = matmul(randn({tokens, n}, stream), Trans::no, mix, Trans::no);
  const Tensor loud = randn({n}, stream + 2);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.mutable_data<double>()[std::size_t(i)] *= std::exp(0.7 * value_at(loud, i % n));
  return cast(x, dtype);
}

inline LayerStats stats_of(const Tensor& x, std::int64_t sequences = 1) {
  const std::int64_t n = x.shape()[1];
  LayerStats s;
  s.tokens = x.shape()[0];
  s.sequences = sequences;
  s.column_sq = Tensor::zeros({n}, x.dtype());
  s.gram = Tensor::zeros({n, n}, x.dtype());
  add_gram(s.gram, x);
  visit_float(x.dtype(), "stats_of", [&]<class T>() {
    for (T& v : s.gram.mutable_data<T>()) v *= T(2. / double(sequences));
    for (std::int64_t j = 0; j < n; ++j)
      s.column_sq.mutable_data<T>()[std::size_t(j)] = s.gram.data<T>()[std::size_t(j * n + j)] / 2;
  });
  return s;
}

// A weight with the statistics of its inputs.
struct Layer {
  Layer(std::int64_t rows, std::int64_t columns, std::uint64_t stream, DType dtype = DType::f64,
        std::int64_t tokens = 0)
      : w(randn({rows, columns}, stream + 10, dtype)),
        x(correlated_inputs(tokens ? tokens : 2 * columns + 7, columns, stream, dtype)),
        stats(stats_of(x)) {}
  LayerProblem problem(Sparsity s = Unpruned{}) const {
    LayerProblem p;
    p.name = "layer";
    p.weight = w;
    p.stats = &stats;
    p.sparsity = s;
    p.store = w.dtype();
    return p;
  }
  Tensor w, x;
  LayerStats stats;
};

inline double at(const Tensor& t, std::int64_t i, std::int64_t j) { return value_at(t, i * t.shape()[1] + j); }

// H + λ·mean(diag H)·I, with 1 for a zero on the diagonal.
inline Tensor damped_hessian(const Tensor& gram, double damp) {
  Tensor h = cast(gram, DType::f64).clone();
  const std::int64_t n = h.shape()[0];
  const auto data = h.mutable_data<double>();
  double mean = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    double& d = data[std::size_t(j * n + j)];
    if (d == 0) d = 1;
    mean += d / double(n);
  }
  for (std::int64_t j = 0; j < n; ++j) data[std::size_t(j * n + j)] += damp * mean;
  return h;
}

// ½ tr((W − Ŵ) H (W − Ŵ)ᵀ)
inline double quadratic_loss(const Tensor& w, const Tensor& q, const Tensor& h) {
  Tensor d = Tensor::empty(w.shape(), DType::f64);
  for (std::int64_t i = 0; i < w.numel(); ++i)
    d.mutable_data<double>()[std::size_t(i)] = value_at(w, i) - value_at(q, i);
  const Tensor p = matmul(d, Trans::no, h, Trans::no);
  double sum = 0;
  for (std::int64_t i = 0; i < w.numel(); ++i) sum += value_at(p, i) * value_at(d, i);
  return sum / 2;
}

inline std::int64_t count_zeros(const Tensor& t, std::int64_t begin = 0, std::int64_t end = -1) {
  std::int64_t zeros = 0;
  for (std::int64_t i = begin; i < (end < 0 ? t.numel() : end); ++i) zeros += value_at(t, i) == 0;
  return zeros;
}
inline bool same_zeros(const Tensor& a, const Tensor& b) {
  for (std::int64_t i = 0; i < a.numel(); ++i)
    if ((value_at(a, i) == 0) != (value_at(b, i) == 0)) return false;
  return a.shape() == b.shape();
}
// The mask of a result: 1 where it is zero.
inline Tensor zero_mask(const Tensor& t) {
  Tensor mask = Tensor::empty(t.shape(), DType::u8);
  for (std::int64_t i = 0; i < t.numel(); ++i) mask.mutable_data<std::uint8_t>()[std::size_t(i)] = value_at(t, i) == 0;
  return mask;
}

inline Tensor diagonal(const std::vector<double>& d) {
  const auto n = std::int64_t(d.size());
  Tensor t = Tensor::zeros({n, n}, DType::f64);
  for (std::int64_t j = 0; j < n; ++j) t.mutable_data<double>()[std::size_t(j * n + j)] = d[std::size_t(j)];
  return t;
}

// Sets the size of the thread pool for a scope.
struct Threads {
  explicit Threads(int n) { set_threads(n); }
  ~Threads() { set_threads(available_cores()); }
};

}  // namespace sinter::test
