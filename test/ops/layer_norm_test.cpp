#include "ops/layer_norm.h"

#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("A normalised row has mean zero and unit variance, then weight and bias") {
  const Tensor x = scale(randn({3, 16}, 1), 100).value(), w = randn({16}, 2), b = randn({16}, 3);
  const Tensor y = layer_norm(x, ones({16}), Tensor::zeros({16}, DType::f64), 1e-5).value();
  for (std::int64_t t = 0; t < 3; ++t) {
    CHECK(std::abs(value_at(sum(y.rows(t, t + 1)).value(), 0)) < 1e-13);
    CHECK(value_at(sum_sq(y.rows(t, t + 1)).value(), 0) == doctest::Approx(16).epsilon(1e-7));  // eps / 1e4 is seen
  }
  const Tensor z = layer_norm(x, w, b, 1e-5).value();
  for (std::int64_t i = 0; i < 48; ++i)
    CHECK(value_at(z, i) == doctest::Approx(value_at(y, i) * value_at(w, i % 16) + value_at(b, i % 16)));
}

TEST_CASE("A large common offset costs no more than its own rounding") {
  const Tensor x = randn({2, 64}, 1, DType::f32), w = ones({64}, DType::f32), b = Tensor::zeros({64}, DType::f32);
  Tensor shifted = x.clone();
  for (float& v : shifted.mutable_data<float>()) v += 1000;
  // 1000 + x rounds x to 6e-5 / 2; the one-pass formula for the variance would lose 1e6 * 6e-8.
  CHECK(distance(layer_norm(shifted, w, b, 1e-5).value(), layer_norm(x, w, b, 1e-5).value()) < 1e-4);
}

TEST_CASE("A constant row gives the bias") {
  const Tensor b = randn({8}, 3, DType::f32);
  const Tensor y = layer_norm(Tensor::full({1, 8}, 5, DType::f32), ones({8}, DType::f32), b, 1e-5).value();
  CHECK(distance(y.reshape({8}), b) == 0);
}

TEST_CASE("LayerNorm refuses a weight or bias of another length") {
  const Tensor x = randn({3, 8}, 1), v = randn({8}, 2);
  CHECK_THROWS_TEXT(shape, "layer_norm: weight [3] for rows of [3, 8]", layer_norm(x, randn({3}, 1), v, 1e-5));
  CHECK_THROWS_TEXT(shape, "layer_norm: bias [3] for rows of [3, 8]", layer_norm(x, v, randn({3}, 1), 1e-5));
}
