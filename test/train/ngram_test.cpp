#include "train/eval/ngram.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/random.h"

using namespace sinter;

namespace {

using Ids = std::vector<std::int32_t>;

Ids random_ids(std::uint64_t seed, std::size_t count, std::uint32_t vocab) {
  Ids ids;
  for (std::size_t i = 0; i < count; ++i) ids.push_back(std::int32_t(Rng{seed}.bits(i) % vocab));
  return ids;
}

// The next id is (u + v) mod 8 three times in four, else uniform over 8.
Ids second_order(std::uint64_t seed, std::size_t count) {
  Ids ids = {1, 2};
  const Rng rng{seed};
  for (std::size_t i = 2; i < count; ++i) {
    const bool bound = rng.bits(2 * i) % 4 != 0;
    ids.push_back(bound ? (ids[i - 2] + ids[i - 1]) % 8 : std::int32_t(rng.bits(2 * i + 1) % 8));
  }
  return ids;
}

}  // namespace

TEST_CASE("trigram probabilities sum to one over the vocabulary in every kind of context") {
  Ids train = second_order(5, 4000);
  for (std::int32_t& id : train) id *= 2;  // odd ids never occur
  const Trigram model(train, 17);
  const std::int32_t contexts[][2] = {{2, 4}, {0, 0}, {14, 2}, {3, 4}, {4, 3}, {1, 1}, {-1, 6}, {-1, 5}, {-1, -1}};
  for (const auto& [u, v] : contexts) {
    double sum = 0;
    for (int w = 0; w < 17; ++w) {
      CHECK(model.probability(u, v, w) > 0);
      sum += model.probability(u, v, w);
    }
    CHECK(sum == doctest::Approx(1).epsilon(1e-12));  // 17 additions of doubles
    const auto m = model.mixture(u, v);
    CHECK(m[0] + m[1] + m[2] + m[3] == doctest::Approx(1).epsilon(1e-12));
  }
}

TEST_CASE("a trigram probability is the mixture of counts made by hand") {
  // 20 ids: 0 1 2 | 0 1 3 | 0 1 2 | 2 1 2 | 0 1 2 | 0 1 3 | 1 0
  const Ids train = {0, 1, 2, 0, 1, 3, 0, 1, 2, 2, 1, 2, 0, 1, 2, 0, 1, 3, 1, 0};
  const Trigram model(train, 5);
  // Context (0,1) occurs 5 times: 2 follows 3 times, 3 follows twice. 1 is followed 7 times: by 2 four times,
  // by 3 twice, by 0 once. Among 20 ids 2 stands 5 times, 3 twice; 4 never.
  const auto m = model.mixture(0, 1);
  CHECK(model.probability(0, 1, 2) == doctest::Approx(m[0] * 3 / 5 + m[1] * 4 / 7 + m[2] * 5 / 20 + m[3] / 5));
  CHECK(model.probability(0, 1, 3) == doctest::Approx(m[0] * 2 / 5 + m[1] * 2 / 7 + m[2] * 2 / 20 + m[3] / 5));
  CHECK(model.probability(0, 1, 4) == doctest::Approx(m[3] / 5));
  // (3,3) was never seen: no trigram share; 3 is followed by 0 once and by 1 once.
  const auto unseen = model.mixture(3, 3);
  CHECK(unseen[0] == 0);
  CHECK(model.probability(3, 3, 1) == doctest::Approx(unseen[1] / 2 + unseen[2] * 7 / 20 + unseen[3] / 5));
  // The loss of two ids: a unigram, then a bigram.
  const double expected = -(std::log(model.probability(-1, -1, 0)) + std::log(model.probability(-1, 0, 1))) / 2;
  CHECK(model.loss(Ids{0, 1}) == doctest::Approx(expected));
}

TEST_CASE("EM finds the weights that make the held-back ids most likely") {
  // The first 90 ids alternate 0 0 1 1 with ids 2 never seen; in the held-back ten, one id of five is new.
  Ids train;
  for (int i = 0; i < 90; ++i) train.push_back(i / 2 % 2);
  for (const int id : {1, 1, 0, 0, 2, 1, 0, 0, 1, 1}) train.push_back(id);
  const Trigram model(train, 3);
  for (const auto& [u, v] : {std::pair{0, 0}, std::pair{1, 0}, std::pair{0, 1}}) {
    const auto m = model.mixture(u, v);
    CHECK(m[3] > 0);
    CHECK(m[0] > 0.3);  // the pattern holds for most of the held-back ids
    CHECK(m[0] < 0.95);  // but not for all of them
  }
}

TEST_CASE("the trigram reaches the entropy of the process that made the ids") {
  const Ids train = second_order(1, 60000), held = second_order(2, 20000);
  // p(bound) = 3/4 + 1/4/8, the other seven ids 1/32 each.
  const double bound = 0.75 + 0.25 / 8, other = 0.25 / 8;
  const double entropy = -bound * std::log(bound) - 7 * other * std::log(other);
  // Standard error of the mean over 20,000 ids is below 0.01; 64 contexts of 900 counts cost about 0.003.
  CHECK(trigram_loss(train, held, 8) == doctest::Approx(entropy).epsilon(0.025));

  const Ids noise = random_ids(3, 60000, 8), more = random_ids(4, 20000, 8);
  // Independent ids: no context helps, and EM turns to the flat estimates.
  CHECK(trigram_loss(noise, more, 8) == doctest::Approx(std::log(8.0)).epsilon(0.002));
}

TEST_CASE("a repeating sequence costs almost nothing and an id that was never seen stays finite") {
  Ids cycle;
  for (int i = 0; i < 3000; ++i) cycle.push_back(i % 3);
  CHECK(trigram_loss(cycle, std::span(cycle).first(300), 4) < 0.01);
  const double surprise = trigram_loss(cycle, Ids{3, 3, 3}, 4);
  CHECK(std::isfinite(surprise));
  CHECK(surprise > 1);
}

TEST_CASE("a context that was always followed as expected still leaves room for another follower") {
  Ids cycle;
  for (int i = 0; i < 3000; ++i) cycle.push_back(i % 3);
  const Trigram model(cycle, 4);
  const auto m = model.mixture(0, 1);
  CHECK(m[0] + m[1] > 0.99);  // trigram and bigram say the same here, so how they share is open
  for (const std::int32_t w : {0, 1, 3}) CHECK(model.probability(0, 1, w) > 0);
  CHECK(std::isfinite(model.loss(Ids{0, 1, 0, 1, 3, 2})));
}

TEST_CASE("the trigram refuses ids outside its vocabulary and too few of them") {
  CHECK_THROWS_AS(Trigram(random_ids(1, 100, 9), 8), Error);
  CHECK_THROWS_AS(Trigram(Ids(19, 0), 8), Error);
  CHECK_THROWS_AS(Trigram(Ids(40, 0), 0), Error);
  CHECK_THROWS_AS(Trigram(Ids(40, -1), 4), Error);
  CHECK_THROWS_AS(Trigram(Ids(40, 0), 4).loss(Ids{4}), Error);
  CHECK_THROWS_AS(Trigram(Ids(40, 0), 4).loss(Ids{}), Error);
}
