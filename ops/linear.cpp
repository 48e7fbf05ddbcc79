#include "ops/linear.h"

#include "ops/strip_product.h"

namespace sinter {
namespace {

// x·wᵀ and dy·w; with bf16 arithmetic w is rounded a strip of rows at a time.
Tensor forward(const Tensor& x, const Tensor& w, Compute c) {
  if (c == Compute::f32) return matmul(x, Trans::no, w, Trans::yes);
  Tensor y = Tensor::empty({x.shape()[0], w.shape()[0]}, x.dtype(), x.device());
  strip_product(DenseSource(w), x, {0, w.shape()[0]}, y, {}, c);
  return y;
}
Tensor backward_x(const Tensor& dy, const Tensor& w, Compute c) {
  if (c == Compute::f32) return matmul(dy, Trans::no, w, Trans::no);
  Tensor dx = Tensor::empty({dy.shape()[0], w.shape()[1]}, dy.dtype(), dy.device());
  strip_product_transposed(DenseSource(w), dy, {0, w.shape()[0]}, dx, 0, c);
  return dx;
}
Tensor backward_w(const Tensor& dy, const Tensor& x, Compute c) {
  if (c == Compute::f32) return matmul(dy, Trans::yes, x, Trans::no);
  return matmul(rounded_bf16(dy), Trans::yes, rounded_bf16(x), Trans::no);
}

// y = x·wᵀ:  dx = dy·w,  dw = dyᵀ·x
struct LinearOp {
  static constexpr std::string_view name = "linear";
  static constexpr std::size_t arity = 2;  // x, w
  struct Saved {
    Tensor x, w;  // each kept only if the other needs it
    Compute compute;
  };

  static Cotangents<2> vjp(const Saved& s, const Tensor& dy, Needs<2> needs) {
    Cotangents<2> d;
    if (needs[0]) d[0] = backward_x(dy, s.w, s.compute);
    if (needs[1]) d[1] = backward_w(dy, s.x, s.compute);
    return d;
  }
};

}  // namespace

Var linear(const Var& x, const Var& w, Compute compute) {
  require(x.shape().rank() == 2 && w.shape().rank() == 2 && x.shape()[1] == w.shape()[1], ErrorCode::shape, "linear",
          "x ", x.shape(), " with w ", w.shape());
  require(x.value().dtype() == w.value().dtype() && (compute == Compute::f32 || x.value().dtype() == DType::f32),
          ErrorCode::dtype, "linear", "x is ", info(x.value().dtype()).name, ", w is ", info(w.value().dtype()).name);
  Tensor y = forward(x.value(), w.value(), compute);
  return record<LinearOp>({x, w}, std::move(y),
                          {w.tracked() ? x.value() : Tensor(), x.tracked() ? w.value() : Tensor(), compute});
}

}  // namespace sinter
