#pragma once
#include "core/basic_kernels.h"
#include "ops/frozen_weight.h"

namespace sinter::test {

// The simplest frozen weight: a dense matrix, cast to the type of the other operand at each product.
class PlainWeight final : public FrozenWeight {
 public:
  explicit PlainWeight(Tensor w) : w_(std::move(w)) {}
  std::int64_t out_features() const override { return w_.shape()[0]; }
  std::int64_t in_features() const override { return w_.shape()[1]; }
  void apply(ConstView x, Rows r, View y, const Epilogue& e, Compute) const override {
    gemm(x, Trans::no, dense(r, x.dtype()), Trans::yes, y, e);
  }
  void apply_transposed(ConstView dy, Rows r, View dx, float beta, Compute) const override {
    gemm(dy, Trans::no, dense(r, dy.dtype()), Trans::no, dx, {.beta = beta});
  }
  Tensor gather(std::span<const std::int32_t> rows, DType dtype) const override {
    Tensor out = Tensor::empty({std::int64_t(rows.size()), in_features()}, dtype);
    visit_float(dtype, "plain weight", [&]<class T>() {
      const Tensor w = cast(w_, dtype);
      const View to(out);
      for (std::size_t i = 0; i < rows.size(); ++i)
        std::ranges::copy(ConstView(w).row<T>(rows[i]), to.row<T>(std::int64_t(i)).begin());
    });
    return out;
  }
  Tensor dense(Rows r, DType dtype) const override { return cast(w_.rows(r.begin, r.end), dtype); }
  Packed pack() const override { return {"plain", 1, {}, {{"weight", w_}}}; }
  FrozenWeightPtr to(Device d) const override { return std::make_shared<PlainWeight>(w_.to(d)); }

 private:
  Tensor w_;
};

}  // namespace sinter::test
