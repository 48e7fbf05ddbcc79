#include "ops/softmax.h"

#include "ops/reduce.h"
#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("Each row of a softmax sums to one and does not notice a common shift") {
  const Tensor x = randn({5, 33}, 1, DType::f32);
  Tensor shifted = x.clone();
  for (float& v : shifted.mutable_data<float>()) v += 512;
  const Tensor y = softmax(x).value();
  for (std::int64_t t = 0; t < 5; ++t)
    CHECK(value_at(sum(y.rows(t, t + 1)).value(), 0) == doctest::Approx(1).epsilon(1e-6));
  CHECK(distance(softmax(shifted).value(), y) < 3e-5);  // 512 + x rounds x to 3e-5
}

TEST_CASE_TEMPLATE("A softmax stands large values, and masked ones get exactly nothing", T, float, double) {
  const std::vector<T> row{T(1e4), T(-INFINITY), T(1e4), T(-1e4)};
  const Tensor y = softmax(Tensor::of<T>({1, 4}, row)).value();
  CHECK(distance(y, Tensor::of<T>({1, 4}, std::vector<T>{T(0.5), 0, T(0.5), 0})) == 0);
}

TEST_CASE("A softmax needs a last dimension") { CHECK_THROWS_CODE(shape, softmax(Tensor::zeros({}, DType::f32))); }
