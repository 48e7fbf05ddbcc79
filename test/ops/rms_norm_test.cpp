#include "ops/rms_norm.h"

#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

namespace {

constexpr double kEps = 1e-5;
const std::vector<Tensor> kAt{randn({3, 8}, 1), randn({3, 8}, 2), randn({8}, 3)};

}  // namespace

TEST_CASE("A normalised row has unit mean square, scaled by the weight") {
  const Tensor y = rms_norm(scale(kAt[0], 1000), ones({8}), kEps).value();
  for (std::int64_t t = 0; t < 3; ++t)
    CHECK(value_at(sum_sq(y.rows(t, t + 1)).value(), 0) == doctest::Approx(8).epsilon(1e-9));  // eps / 1e6 is seen
  const Tensor w = rms_norm(kAt[0], kAt[2], kEps).value();
  const Tensor u = rms_norm(kAt[0], ones({8}), kEps).value();
  for (std::int64_t i = 0; i < 24; ++i)
    CHECK(value_at(w, i) == doctest::Approx(value_at(u, i) * value_at(kAt[2], i % 8)));
}

TEST_CASE("A row of zeros gives zeros, with finite gradients") {
  const Param p("x", Tensor::zeros({2, 8}, DType::f32));
  Tape tape;
  const Var y = rms_norm(tape.leaf(p), ones({8}, DType::f32), 1e-6);
  CHECK(distance(y.value(), p.value()) == 0);
  const Grads g = std::move(tape).backward(y, ones({2, 8}, DType::f32));
  CHECK(distance(*g.find(p), Tensor::full({2, 8}, 1000, DType::f32)) < 1e-3);  // 1 / sqrt(eps), to f32
}

TEST_CASE("The norm fused with its residual sum equals the composition to the bit") {
  const auto fused = add_rms_norm(kAt[0], kAt[1], kAt[2], kEps),
             plain = add_rms_norm_composed(kAt[0], kAt[1], kAt[2], kEps);
  CHECK(same_bits(fused[0].value(), plain[0].value()));
  CHECK(same_bits(fused[1].value(), plain[1].value()));
}

TEST_CASE("Either output of the fused norm may be used alone") {
  const auto only_y = [](auto& v) { return sum_sq(silu(add_rms_norm(v[0], v[1], v[2], kEps)[1])); };
  CHECK(grad_error(only_y, kAt) < kGradTolerance);
  const auto only_h = [](auto& v) { return sum_sq(add(add_rms_norm(v[0], v[1], kAt[2], kEps)[0], v[0])); };
  CHECK(grad_error(only_h, {kAt[0], kAt[1]}) < kGradTolerance);
}

TEST_CASE("The norm refuses a weight of another length or type") {
  CHECK_THROWS_TEXT(shape, "rms_norm: weight [3] for rows of [3, 8]", rms_norm(kAt[0], randn({3}, 1), kEps));
  CHECK_THROWS_TEXT(dtype, "rms_norm: operands are f64 and f32", rms_norm(kAt[0], randn({8}, 1, DType::f32), kEps));
  CHECK_THROWS_TEXT(shape, "add_rms_norm: [3, 8] and [2, 8]", add_rms_norm(kAt[0], randn({2, 8}, 1), kAt[2], kEps));
}
