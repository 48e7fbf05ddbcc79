#pragma once
#include "ops/frozen_weight.h"

namespace sinter {

// A stored matrix [out, in] that expands a piece of a row on demand: all that a storage format needs for its products.
class StripSource {
 public:
  virtual ~StripSource() = default;
  virtual std::int64_t in_features() const = 0;
  // w[row, col .. col + n) -> to; called from many threads.
  virtual void expand(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const = 0;
  virtual void expand(std::int64_t row, std::int64_t col, std::int64_t n, double* to) const = 0;
};

// A dense tensor of any float type, as a source.
class DenseSource final : public StripSource {
 public:
  explicit DenseSource(const Tensor& w) : w_(w) {}
  std::int64_t in_features() const override { return w_.shape()[1]; }
  void expand(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const override;
  void expand(std::int64_t row, std::int64_t col, std::int64_t n, double* to) const override;

 private:
  const Tensor& w_;
};

// y[T, |rows|] = beta·y + act(x[T, in] · W[rows]ᵀ + bias), a strip of rows of W in memory at a time for each thread.
// Compute::bf16 rounds both factors of an f32 product. x, y are all f32 or all f64.
void strip_product(const StripSource& w, const ConstView& x, Rows, const View& y, const Epilogue&, Compute);
// dx[T, in] = beta·dx + dy[T, |rows|] · W[rows]
void strip_product_transposed(const StripSource& w, const ConstView& dy, Rows, const View& dx, float beta, Compute);

// The same for a few rows of x (T <= kFewRows, f32), straight from the halves in memory.
void half_product(const Tensor& w, const ConstView& x, Rows, const View& y, const Epilogue&);
void half_product_transposed(const Tensor& w, const ConstView& dy, Rows, const View& dx, float beta);

// A copy whose values are the nearest bf16; f32 only.
Tensor rounded_bf16(const ConstView&);

}  // namespace sinter
