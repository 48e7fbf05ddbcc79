#include "ops/frozen_linear.h"

namespace sinter {
namespace {

struct FrozenLinearOp {
  static constexpr std::string_view name = "frozen_linear";
  static constexpr std::size_t arity = 1;  // x; the weight is not an operand of the tape
  struct Saved {
    FrozenWeightPtr w;
    Compute compute;
  };

  // dx = dy·W
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) {
    return {apply_transposed(*s.w, dy, s.compute)};
  }
};

}  // namespace

Var frozen_linear(const Var& x, FrozenWeightPtr w, Tensor bias, Compute compute) {
  require(x.shape().rank() == 2, ErrorCode::shape, "frozen_linear", "x ", x.shape(), " needs rank 2");
  Tensor y = apply(*w, x.value(), {.bias = std::move(bias)}, compute);
  return record<FrozenLinearOp>({x}, std::move(y), {std::move(w), compute});
}

}  // namespace sinter
