#include "train/compress/mask.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// The specification: the first `count` of a stable sort by magnitude.
template <class T>
std::vector<std::uint8_t> sorted_drop(const std::vector<T>& score, std::int64_t count) {
  std::vector<std::size_t> order(score.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::ranges::stable_sort(order, [&](auto a, auto b) { return std::abs(score[a]) < std::abs(score[b]); });
  std::vector<std::uint8_t> drop(score.size(), 0);
  for (std::int64_t i = 0; i < count; ++i) drop[order[std::size_t(i)]] = 1;
  return drop;
}

template <class T>
void compare_with_sort() {
  for (const std::int64_t n : {1, 2, 7, 100, 3000, 40000})
    for (const double coarse : {0., 1e-3, 0.5}) {  // coarse scores have many ties
      std::vector<T> score;
      for (std::int64_t i = 0; i < n; ++i) {
        const double v = Rng{kSeed, 3}.normal(std::uint64_t(i));
        score.push_back(T(coarse > 0 ? std::round(v / coarse) * coarse : v * std::exp(10 * v)));
      }
      for (const std::int64_t count : {std::int64_t(0), std::int64_t(1), n / 3, n / 2, n - 1, n}) {
        std::vector<std::uint8_t> drop(std::size_t(n), 9);
        drop_lowest(std::span<const T>(score), count, std::span(drop));
        CHECK(drop == sorted_drop(score, count));
      }
    }
}

std::vector<std::uint8_t> row(const std::vector<float>& score, Sparsity s) {
  std::vector<std::uint8_t> drop(score.size(), 9);
  drop_in_row(std::span<const float>(score), s, std::span(drop));
  return drop;
}

}  // namespace

TEST_CASE("Dropping the lowest equals a stable sort, ties and signs included") {
  compare_with_sort<float>();
  compare_with_sort<double>();
}

TEST_CASE("Infinite and tiny scores keep their order, and NaN counts as largest") {
  const std::vector<float> score{NAN, INFINITY, 1e-45f, 0.f, -0.f, 3.4e38f};
  std::vector<std::uint8_t> drop(6);
  for (std::int64_t count = 0; count <= 6; ++count) {
    drop_lowest(std::span<const float>(score), count, std::span(drop));
    const std::vector<std::uint8_t> expected{count > 5, count > 4, count > 2, count > 0, count > 1, count > 3};
    CHECK(drop == expected);
  }
}

TEST_CASE("A pattern keeps N of every M, the first of equals going first") {
  CHECK(row({4, 1, 3, 2, 5, 5, 5, 5}, KeepOf{2, 4}) == std::vector<std::uint8_t>{0, 1, 0, 1, 1, 1, 0, 0});
  CHECK(row({4, 1, 3, 2, 9, 8, 7, 6}, KeepOf{2, 8}) == std::vector<std::uint8_t>{1, 1, 1, 1, 0, 0, 1, 1});
  CHECK(row({4, 1, 3, 2}, KeepOf{4, 4}) == std::vector<std::uint8_t>{0, 0, 0, 0});
  CHECK(row({4, 1, 3, 2, 0}, Fraction{0.5}) == std::vector<std::uint8_t>{0, 1, 0, 0, 1});
  CHECK(row({4, 1}, Unpruned{}) == std::vector<std::uint8_t>{0, 0});
}

TEST_CASE("Patterns are read as kept:group and nonsense is refused") {
  const auto p = std::get<KeepOf>(parse_pattern("2:8"));
  CHECK(p.keep == 2);
  CHECK(p.of == 8);
  for (const char* bad : {"", ":", "2", "2:", ":4", "a:b", "5:4", "0:4", "-1:4", "2:4x", "2:4:8", "1:1000"})
    CHECK_THROWS_CODE(usage, parse_pattern(bad));
  CHECK_THROWS_CODE(usage, check_sparsity(KeepOf{2, 4}, 6, "layer"));
  CHECK_THROWS_CODE(usage, check_sparsity(Fraction{1}, 6, "layer"));
  CHECK_THROWS_CODE(usage, check_sparsity(Fraction{-0.1}, 6, "layer"));
  CHECK_THROWS_CODE(usage, check_sparsity(Fraction{NAN}, 6, "layer"));
  CHECK(describe(KeepOf{2, 4}) == "2:4");
  CHECK(describe(Fraction{0.625}) == "62.5 %");
}
