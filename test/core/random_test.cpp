#include "core/random.h"

#include <set>

#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

constexpr bool equal(U32x4 a, U32x4 b) {
  return a.v[0] == b.v[0] && a.v[1] == b.v[1] && a.v[2] == b.v[2] && a.v[3] == b.v[3];
}

}  // namespace

// Known answers of Philox4x32-10 from Random123: counter and key all zeros, all ones, and digits of pi.
static_assert(equal(philox(0, 0, 0), {{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}}));
static_assert(equal(philox(~0ull, ~0ull, ~0ull), {{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}}));
static_assert(equal(philox(0x299f31d0a4093822ull, 0x0370734413198a2eull, 0x85a308d3243f6a88ull),
                    {{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}}));

TEST_CASE("Element i of a stream is lane i mod 4 of block i / 4") {
  constexpr Rng rng{5, 6};
  for (const std::uint64_t i : {0ull, 3ull, 4ull, 1001ull, (1ull << 40) + 2})
    CHECK(rng.bits(i) == philox(5, 6, i / 4).v[i % 4]);
}

TEST_CASE("Streams with different names differ, and the same name gives the same stream") {
  const Rng root{1, 0};
  std::set<std::uint64_t> streams{root.stream};
  for (std::uint64_t a = 0; a < 30; ++a) {
    streams.insert(root.fork(a).stream);
    for (std::uint64_t b = 0; b < 30; ++b) streams.insert(root.fork(a).fork(b).stream);
  }
  CHECK(streams.size() == 1 + 30 + 900);
  CHECK(root.fork(3).bits(9) == Rng{1, 0}.fork(3).bits(9));
  CHECK(root.fork(3).bits(9) != Rng{2, 0}.fork(3).bits(9));
}

TEST_CASE("Uniforms lie in [0, 1) with the mean and variance of the distribution") {
  const Rng rng{7, 1};
  const int n = 100000;
  double sum = 0, square = 0;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform(std::uint64_t(i));
    REQUIRE((u >= 0 && u < 1));
    sum += u;
    square += u * u;
  }
  CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));  // five standard deviations
  CHECK(std::abs(square / n - 1.0 / 3) < 5 * std::sqrt(4.0 / 45 / n));
}

TEST_CASE("Normals have mean zero, unit variance and the tails of the distribution") {
  const Rng rng{7, 2};
  const int n = 100000;
  double sum = 0, square = 0;
  int beyond = 0;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal(std::uint64_t(i));
    REQUIRE(std::isfinite(x));
    sum += x;
    square += x * x;
    beyond += std::abs(x) > 2;
  }
  CHECK(std::abs(sum / n) < 5 / std::sqrt(double(n)));  // five standard deviations, here and below
  CHECK(std::abs(square / n - 1) < 5 * std::sqrt(2.0 / n));
  const double p = 0.04550026;  // P(|x| > 2)
  CHECK(std::abs(double(beyond) / n - p) < 5 * std::sqrt(p * (1 - p) / n));
}

TEST_CASE("Integers below n are in range and reach every value") {
  const Rng rng{7, 3};
  std::array<int, 7> seen{};
  for (std::uint64_t i = 0; i < 7000; ++i) {
    const std::uint64_t v = rng.below(i, 7);
    REQUIRE(v < 7);
    ++seen[v];
  }
  for (const int count : seen) CHECK(std::abs(count - 1000) < 5 * 29);  // five standard deviations
  CHECK(rng.below(0, 1) == 0);
  CHECK(rng.below(0, 1ull << 32) == rng.bits(0));
}
