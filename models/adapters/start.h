#pragma once
#include <cmath>

#include "models/context.h"
#include "ops/dropout.h"

namespace sinter {

// U(−1/√n, 1/√n) for a factor [r, n], f32: Kaiming's uniform start with a = √5.
inline Tensor uniform_start(Shape shape, Rng rng) {
  Tensor t = Tensor::empty(shape, DType::f32);
  const double bound = 1 / std::sqrt(double(shape[1]));
  const auto out = t.mutable_data<float>();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = float(bound * (2 * double(rng.uniform(i)) - 1));
  return t;
}

// Rows of W as values that may be written to.
inline Tensor own_rows(const FrozenWeight& w, Rows rows, DType dtype) {
  Tensor t = w.dense(rows, dtype);
  return t.sole_owner() ? t : t.clone();
}

// Dropout of an adapter's input: each adapter draws from a stream of its own, anew in every step.
class AdapterDropout {
 public:
  AdapterDropout(double p, Rng own) : p_(p), stream_(own.stream) {
    require(p >= 0 && p < 1, ErrorCode::usage, "dropout", "probability ", p, " is not in [0, 1)");
  }
  bool acts(const Context& ctx) const { return ctx.tape && p_ > 0; }
  Var apply(const Context& ctx, const Var& x) const { return acts(ctx) ? dropout(x, p_, ctx.rng.fork(stream_)) : x; }

 private:
  double p_;
  std::uint64_t stream_;
};

}  // namespace sinter
