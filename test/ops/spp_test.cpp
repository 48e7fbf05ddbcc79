#include "ops/spp.h"

#include "ops/frozen_linear.h"
#include "ops/linear.h"
#include "test/check.h"
#include "test/ops/plain_weight.h"

using namespace sinter;
using namespace sinter::test;

namespace {

constexpr std::int64_t kTokens = 5, kOut = 12, kIn = 9;

struct Problem {
  Tensor w, x, alpha, beta;
  explicit Problem(std::int64_t r, DType dtype = DType::f64, std::int64_t m = kOut, std::int64_t n = kIn)
      : w(randn({m, n}, 1, dtype)),
        x(randn({kTokens, n}, 2, dtype)),
        alpha(randn({r, n}, 3, dtype)),
        beta(randn({m}, 4, dtype)) {}
  FrozenWeightPtr frozen() const { return std::make_shared<PlainWeight>(w); }
  // W ∘ α_j(i) ∘ β_i, written out
  Tensor explicit_weight(double s) const {
    Tensor out = Tensor::empty(w.shape(), DType::f64);
    const std::int64_t m = w.shape()[0], n = w.shape()[1], q = m / alpha.shape()[0];
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t c = 0; c < n; ++c)
        out.mutable_data<double>()[std::size_t(i * n + c)] =
            s * value_at(w, i * n + c) * value_at(alpha, i / q * n + c) * value_at(beta, i);
    return out;
  }
};

}  // namespace

TEST_CASE("SPP: equation 7 equals the explicit W' for every r that divides m (card 06, test 3)") {
  for (std::int64_t r = 1; r <= kOut; ++r) {
    if (kOut % r != 0) continue;
    const Problem p(r);
    const Tensor expected = matmul(p.x, Trans::no, p.explicit_weight(1.3), Trans::yes);
    CHECK(distance(spp(p.x, p.frozen(), p.alpha, p.beta, 1.3).value(), expected) < 1e-12);
    const Tensor base = matmul(p.x, Trans::no, p.w, Trans::yes);
    const Tensor both = spp_linear(p.x, p.frozen(), {}, p.alpha, p.beta, 1.3).value();
    for (std::int64_t i = 0; i < both.numel(); ++i)
      CHECK(std::abs(value_at(both, i) - value_at(base, i) - value_at(expected, i)) < 1e-12);
  }
}

TEST_CASE("SPP: with beta zero both forms give the frozen product bit for bit, and alpha has no gradient") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Problem p(3, dtype, 300, 2049);
    const Tensor zero = Tensor::zeros({300}, dtype), bias = randn({300}, 5, dtype);
    const Tensor base = frozen_linear(p.x, p.frozen(), bias).value();
    CHECK(same_bits(spp_linear(p.x, p.frozen(), bias, p.alpha, zero, 2).value(), base));
    for (std::int64_t i = 0; i < base.numel(); ++i)
      REQUIRE(value_at(spp(p.x, p.frozen(), p.alpha, zero, 2).value(), i) == 0);

    const auto gradients = [&](auto&& forward) {
      const Param alpha("alpha", p.alpha), beta("beta", zero);
      Tape tape;
      const Var y = forward(tape.leaf(alpha), tape.leaf(beta));
      const Grads g = std::move(tape).backward(y, randn(y.shape(), 6, dtype));
      bool moves = false;
      for (std::int64_t i = 0; i < zero.numel(); ++i) moves |= value_at(*g.find(beta), i) != 0;
      CHECK(moves);
      for (std::int64_t i = 0; i < p.alpha.numel(); ++i) REQUIRE(value_at(*g.find(alpha), i) == 0);
    };
    gradients([&](const Var& a, const Var& b) { return spp(p.x, p.frozen(), a, b, 2); });
    gradients([&](const Var& a, const Var& b) { return spp_linear(p.x, p.frozen(), {}, a, b, 2); });
  }
}

TEST_CASE("SPP: a zero of W keeps its sign, whatever the signs of its factors") {
  Problem p(3, DType::f32);
  for (std::int64_t i = 0; i < p.w.numel(); i += 2) p.w.mutable_data<float>()[std::size_t(i)] = i % 4 ? 0.f : -0.f;
  Tensor w = p.w.clone();
  spp_strip_kernel(w.device(), w, 0, p.alpha, p.beta, 2);
  for (std::int64_t i = 0; i < w.numel(); ++i) {
    const double before = value_at(p.w, i), after = value_at(w, i);
    if (before == 0) CHECK((after == 0 && std::signbit(after) == std::signbit(before)));
    else CHECK(after != before);
  }
}

TEST_CASE("SPP: the two forms have the same gradients") {
  const Problem p(4, DType::f64, 600, 1031);  // several strips
  const auto gradients = [&](bool at_once) {
    const Param x("x", p.x), alpha("alpha", p.alpha), beta("beta", p.beta);
    Tape tape;
    const Var X = tape.leaf(x), a = tape.leaf(alpha), b = tape.leaf(beta);
    const Var y = at_once ? spp_linear(X, p.frozen(), {}, a, b, 0.5) : spp(X, p.frozen(), a, b, 0.5);
    const Grads g = std::move(tape).backward(y, randn(y.shape(), 7, DType::f64));
    return std::vector{*g.find(alpha), *g.find(beta)};
  };
  const auto one = gradients(true), other = gradients(false);
  for (std::size_t k = 0; k < one.size(); ++k) CHECK(distance(one[k], other[k]) < 1e-10);
}

TEST_CASE("SPP: r = 1 and alpha = 1 is a scale per row (card 06, test 5)") {
  Problem p(1);
  p.alpha = Tensor::full({1, kIn}, 1, DType::f64);
  const Param beta("beta", p.beta);
  Tape tape;
  const Var y = spp(p.x, p.frozen(), p.alpha, tape.leaf(beta), 1);
  const Grads g = std::move(tape).backward(y, Tensor::full(y.shape(), 1, DType::f64));
  const Tensor z = matmul(p.x, Trans::no, p.w, Trans::yes);
  for (std::int64_t i = 0; i < kOut; ++i) {
    double sum = 0;
    for (std::int64_t t = 0; t < kTokens; ++t) sum += value_at(z, t * kOut + i);
    CHECK(value_at(*g.find(beta), i) == doctest::Approx(sum).epsilon(1e-12));
  }
}

TEST_CASE("SPP: factors that do not fit are refused") {
  const Problem p(3);
  CHECK_THROWS_CODE(usage, spp(p.x, p.frozen(), randn({5, kIn}, 3, DType::f64), p.beta, 1));
  CHECK_THROWS_CODE(shape, spp(p.x, p.frozen(), randn({3, kIn + 1}, 3, DType::f64), p.beta, 1));
  CHECK_THROWS_CODE(shape, spp_linear(p.x, p.frozen(), {}, p.alpha, randn({kOut + 1}, 3, DType::f64), 1));
}
