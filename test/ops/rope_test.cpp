#include "ops/rope.h"

#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

namespace {

const std::vector<float> kFreq{1.f, 0.1f, 0.01f};  // head_dim 6

// One row rotated to a position.
Tensor at_position(const Tensor& x, std::int32_t position, std::int64_t heads) {
  return rope(x, make_rope_table(kFreq, std::array{position}), heads).value();
}

}  // namespace

TEST_CASE("Angles are the product of position and frequency rounded to f32") {
  const std::vector<float> freq{0.9f, 1.0e-3f};
  const RopeTable table = make_rope_table(freq, std::array{0, 7, 100003});
  CHECK(table.cos.shape() == Shape{3, 2});
  for (std::int64_t t : {0, 1, 2})
    for (std::int64_t j : {0, 1}) {
      const double angle = std::array{0.f, 7.f, 100003.f}[std::size_t(t)] * freq[std::size_t(j)];
      CHECK(std::abs(value_at(table.cos, t * 2 + j) - std::cos(angle)) < 1.2e-7);  // one unit in the last place
      CHECK(std::abs(value_at(table.sin, t * 2 + j) - std::sin(angle)) < 1.2e-7);
    }
}

TEST_CASE("The halves of each head are the two coordinates that rotate") {
  const Tensor x = randn({1, 12}, 1);
  const Tensor y = at_position(x, 3, 2);
  for (std::int64_t h : {0, 1})
    for (std::int64_t j : {0, 1, 2}) {
      const double a = value_at(x, h * 6 + j), b = value_at(x, h * 6 + 3 + j),
                   angle = 3.0 * double(kFreq[std::size_t(j)]);
      // cos and sin come from an f32 table
      CHECK(value_at(y, h * 6 + j) == doctest::Approx(a * std::cos(angle) - b * std::sin(angle)).epsilon(1e-6));
      CHECK(value_at(y, h * 6 + 3 + j) == doctest::Approx(b * std::cos(angle) + a * std::sin(angle)).epsilon(1e-6));
    }
  CHECK(distance(at_position(x, 0, 2), x) == 0);
}

TEST_CASE("Scores of rotated queries and keys depend on the distance of their positions only") {
  const Tensor q = randn({1, 6}, 1), k = randn({1, 6}, 2);
  const auto score = [&](std::int32_t m, std::int32_t n) {
    return value_at(sum(mul(at_position(q, m, 1), at_position(k, n, 1))).value(), 0);
  };
  CHECK(std::abs(score(5, 2) - score(105, 102)) < 2e-5);  // angles near 100 are rounded to 8e-6 / 2 in f32
  CHECK(std::abs(score(5, 2) - score(6, 2)) > 1e-2);  // and do depend on it
}

TEST_CASE("The inverse rotation undoes the rotation, which keeps lengths") {
  const Tensor x = randn({1, 12}, 1);
  const RopeTable table = make_rope_table(kFreq, std::array{11});
  const Tensor y = rope(x, table, 2).value();
  Tensor back = Tensor::empty({1, 12}, DType::f64);
  rope_kernel({}, y, table, 2, true, back);
  CHECK(distance(back, x) < 1e-6);  // cos² + sin² is 1 to f32
  CHECK(value_at(sum_sq(y).value(), 0) == doctest::Approx(value_at(sum_sq(x).value(), 0)).epsilon(1e-6));
}

TEST_CASE("Rope refuses a table of another length or heads that do not fit") {
  const RopeTable table = make_rope_table(kFreq, std::array{0, 1});
  CHECK_THROWS_TEXT(shape, "rope: x [3, 12] for 2 heads with angles [2, 3]", rope(randn({3, 12}, 1), table, 2));
  CHECK_THROWS_TEXT(shape, "rope: x [2, 12] for 3 heads", rope(randn({2, 12}, 1), table, 3));
  CHECK_THROWS_TEXT(shape, "rope: x needs rank 2", rope(randn({12}, 1), table, 2));
  CHECK_THROWS_CODE(shape, rope(randn({2, 12}, 1), RopeTable{}, 2));
}
