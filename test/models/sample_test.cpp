#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "models/kv_cache.h"
#include "models/sample.h"
#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

Tensor logits(std::vector<float> z) { return Tensor::of<float>({std::int64_t(z.size())}, z); }

std::array<int, 4> drawn(const Tensor& z, const SampleOptions& o) {
  std::array<int, 4> count{};
  for (std::uint64_t i = 0; i < 4000; ++i) ++count[std::size_t(sample(z, o, Rng{5}, i))];
  return count;
}

}  // namespace

TEST_CASE("temperature 0 takes the most likely token, the first of equals") {
  CHECK(sample(logits({1, 3, 3, 2}), {}, Rng{1}, 0) == 1);
}

TEST_CASE("sampling draws in proportion, and top-k and top-p cut the tail") {
  const Tensor z = logits({std::log(4.f), std::log(3.f), std::log(2.f), std::log(1.f)});
  const auto all = drawn(z, {.temperature = 1});
  for (int i = 0; i < 4; ++i)
    CHECK(std::abs(all[std::size_t(i)] - 400 * (4 - i)) < 150);  // 4000 draws: sigma is below 32
  const auto two = drawn(z, {.temperature = 1, .top_k = 2});
  CHECK(two[2] + two[3] == 0);
  CHECK(std::abs(two[0] - 4000 * 4 / 7) < 150);
  const auto most = drawn(z, {.temperature = 1, .top_p = 0.65});
  CHECK((most[0] > 0 && most[1] > 0 && most[2] + most[3] == 0));
  const auto sharp = drawn(z, {.temperature = 0.05});
  CHECK(sharp[0] > 3950);
}

TEST_CASE("logits that are not a number are an error, not a token") {
  CHECK_THROWS_CODE(numeric, sample(logits({1, NAN, 2}), {}, Rng{1}, 0));
}

TEST_CASE("a cache refuses more than it holds and forgets on rollback") {
  KvCache cache(2, 4, 3);
  const Tensor k = Tensor::full({3, 3}, 1, DType::f32), v = Tensor::full({3, 3}, 2, DType::f32);
  for (int layer = 0; layer < 2; ++layer) CHECK(cache.append(layer, k, v).values.shape() == Shape{3, 3});
  cache.advance(3);
  CHECK_THROWS_CODE(usage, cache.append(0, k, v));
  cache.rollback(1);
  CHECK(cache.append(0, k, v).keys.shape() == Shape{4, 3});
  CHECK_THROWS_CODE(usage, cache.rollback(2));
}
