#include "ops/reduce.h"

#include <limits>

#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

namespace {

template <class T = float>
Tensor row(std::vector<double> values) {
  std::vector<T> v;
  for (double x : values) v.push_back(from_float<T>(x));
  return Tensor::of<T>({std::int64_t(v.size())}, v);
}

using Indices = std::vector<std::int64_t>;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("Sums of f32 are taken in f64") {
  // 2^24 + 1 + 1 + ...: in f32 every further 1 would be lost.
  const std::int64_t n = 10007;
  Tensor x = Tensor::full({n}, 1, DType::f32);
  x.mutable_data<float>()[0] = 0x1p24f;
  CHECK(value_at(sum(x).value(), 0) == 0x1p24 + 10006);
  CHECK(value_at(mean(Tensor::full({n}, 3, DType::f32)).value(), 0) == 3);
  CHECK(value_at(sum_sq(Tensor::full({n}, 2, DType::f32)).value(), 0) == 4 * n);
  CHECK(value_at(sum(Tensor::zeros({0, 3}, DType::f32)).value(), 0) == 0);
  CHECK_THROWS_TEXT(shape, "mean: of no elements", mean(Tensor::zeros({0, 3}, DType::f32)));
}

TEST_CASE("The largest element: the first of equals, never NaN") {
  CHECK(argmax(row({1, 3, 2, 3})) == 1);
  CHECK(argmax(row({kNan, 1, kNan, 3})) == 3);
  CHECK(argmax(row({-INFINITY, -INFINITY})) == 0);
  CHECK(argmax(row({kNan, kNan})) == 0);
  CHECK(argmax(row<bf16>({-2, -1, -3})) == 1);
  CHECK(argmax(row<double>({5})) == 0);
  CHECK_THROWS_CODE(shape, argmax(Tensor::zeros({0}, DType::f32)));
  CHECK_THROWS_CODE(dtype, argmax(Tensor::zeros({2}, DType::i32)));
}

TEST_CASE("The k largest come in descending order, lower indices first among equals") {
  const Tensor x = row({2, 7, 2, kNan, 9, 7});
  CHECK(top_k(x, 0) == Indices{});
  CHECK(top_k(x, 4) == Indices{4, 1, 5, 0});
  CHECK(top_k(x, 100) == Indices{4, 1, 5, 0, 2, 3});
  CHECK(top_k(row<f16>({1, 2}), 1) == Indices{1});
  CHECK_THROWS_CODE(shape, top_k(x, -1));
}

TEST_CASE("The k largest of many agree with a full sort") {
  const Tensor x = randn({3001}, 5, DType::f32);
  const auto v = x.data<float>();
  Indices order(v.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = std::int64_t(i);
  std::ranges::stable_sort(order, [&](auto a, auto b) { return v[std::size_t(a)] > v[std::size_t(b)]; });
  order.resize(50);
  CHECK(top_k(x, 50) == order);
  CHECK(argmax(x) == order[0]);
}
