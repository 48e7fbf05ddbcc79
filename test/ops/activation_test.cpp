#include "ops/activation.h"

#include <limits>

#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

namespace {

template <class T>
Tensor row(std::vector<T> values) {
  return Tensor::of<T>({std::int64_t(values.size())}, values);
}

// The gradient of the sum of f(x).
template <class F>
Tensor slope(F f, const Tensor& x) {
  const Param p("x", x);
  Tape tape;
  const Var y = f(tape.leaf(p));
  return *std::move(tape).backward(y, ones(x.shape(), x.dtype())).find(p);
}

}  // namespace

TEST_CASE("The gradient of relu at zero is zero, and NaN passes through") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = row<float>({-1, -0.f, 0, 2, nan});
  const Tensor y = relu(x).value(), dx = slope(relu, x);
  CHECK(distance(y.rows(0, 4), row<float>({0, 0, 0, 2})) == 0);
  CHECK(std::isnan(value_at(y, 4)));
  CHECK(distance(dx.rows(0, 4), row<float>({0, 0, 0, 1})) == 0);
}

TEST_CASE_TEMPLATE("Activations take their known values", T, float, double) {
  const double eps = std::is_same_v<T, float> ? 2e-7 : 1e-15;  // a few units in the last place of values near 1
  const Tensor x = row<T>({-1, 0, 1, 3});
  // x·Φ(x) and x·σ(x) from tables of the normal and the logistic distribution
  CHECK(distance(gelu(x).value(), row<double>({-0.15865525393145705, 0, 0.8413447460685429, 2.9959503059051098})) <
        4 * eps);
  CHECK(distance(silu(x).value(), row<double>({-0.2689414213699951, 0, 0.7310585786300049, 2.8577223804672997})) <
        4 * eps);
  CHECK(distance(slope(silu, x), row<double>({0.0723294881285133, 0.5, 0.9276705118714867, 1.0881041060151696})) <
        4 * eps);
}

TEST_CASE_TEMPLATE("Activations stay finite far from zero and reach their limits", T, float, double) {
  const Tensor x = row<T>({-1000, -90, 90, 1000});
  for (const Activation a : {Activation::silu, Activation::gelu, Activation::relu}) {
    const auto f = [a](const Var& v) { return activate(v, a); };
    CHECK(distance(f(x).value(), row<T>({0, 0, 90, 1000})) < 1e-30);
    CHECK(distance(slope(f, x), row<T>({0, 0, 1, 1})) < 1e-30);
  }
}

TEST_CASE("No activation is the operand itself") {
  const Tensor x = randn({3}, 1);
  CHECK(activate(x, Activation::none).value().raw() == x.raw());
}

TEST_CASE("The fused gated product equals its composition, forward and backward") {
  for (const DType dtype : {DType::f64, DType::f32}) {
    const double eps = dtype == DType::f64 ? 1e-15 : 5e-7;  // values below 10, a few roundings
    const Param gate("gate", randn({5, 37}, 1, dtype)), up("up", randn({5, 37}, 2, dtype));
    const auto both = [&](auto op) {
      Tape tape;
      const Var y = op(tape.leaf(gate), tape.leaf(up));
      const Grads g = std::move(tape).backward(y, randn({5, 37}, 3, dtype));
      return std::array{y.value(), *g.find(gate), *g.find(up)};
    };
    const auto fused = both(swiglu), plain = both(swiglu_composed);
    for (int i : {0, 1, 2}) CHECK(distance(fused[std::size_t(i)], plain[std::size_t(i)]) < 10 * eps);
  }
  CHECK_THROWS_TEXT(shape, "swiglu: [2, 3] and [3, 2]", swiglu(randn({2, 3}, 1), randn({3, 2}, 1)));
}
