#include "cuda/grid.h"

#include <vector>

#include "test/check.h"

using namespace sinter;
using namespace sinter::cuda;

namespace {

constexpr std::int64_t kSizes[] = {
    0, 1, 31, 32, 33, 255, 256, 257, 65'535, 65'536, 65'537, 1 << 20, 3 << 20, 5'000'003, (1ll << 31) + 1};

// How often the threads of elements_grid(n), each with its grid stride, meet each element.
std::vector<int> visits(std::int64_t n) {
  const Grid g = elements_grid(n);
  std::vector<int> seen(static_cast<std::size_t>(n));
  const std::int64_t threads = std::int64_t(g.x) * g.threads;
  for (std::int64_t t = 0; t < threads; ++t)
    for (std::int64_t i = t; i < n; i += threads) ++seen[std::size_t(i)];
  return seen;
}

}  // namespace

TEST_CASE("A grid over elements meets each exactly once, and no elements make an empty grid") {
  for (const std::int64_t n : {1, 31, 256, 257, 1'048'576, 1'048'577, 3'000'001})
    CHECK(std::ranges::all_of(visits(n), [](int times) { return times == 1; }));
  CHECK(elements_grid(0).empty());
  CHECK_FALSE(elements_grid(1).empty());
}

TEST_CASE("Grids stay within the limits of the hardware for every size") {
  const auto fits = [](Grid g) {
    return g.x <= 0x7fffffffu && g.y <= 65535 && g.threads >= 32 && g.threads <= 1024 && g.threads % 32 == 0;
  };
  for (const std::int64_t n : kSizes) {
    CHECK(fits(elements_grid(n)));
    CHECK(elements_grid(n).x <= kMaxBlocks);
    for (const std::int64_t cols : kSizes) {
      CHECK(fits(matrix_grid(n, cols)));
      CHECK(fits(rows_grid(split_rows(n, 512), cols)));
      CHECK(matrix_grid(n, cols).empty() == (n == 0 || cols == 0));
      CHECK(std::int64_t(matrix_grid(n, cols).x) * kThreads >= cols);
    }
  }
}

TEST_CASE("Parts of rows follow each other without gaps, none is empty, and there are no more than asked for") {
  for (const std::int64_t rows : kSizes)
    for (const std::int64_t most : {1, 3, 512, 1 << 20}) {
      const RowSplit s = split_rows(rows, most);
      REQUIRE(s.parts() <= most);
      std::int64_t next = 0, empty = 0, gaps = 0;
      for (std::int64_t p = 0; p < s.parts(); ++p) {
        gaps += s.begin(p) != next;
        empty += s.end(p) <= s.begin(p);
        next = s.end(p);
      }
      CHECK(gaps == 0);
      CHECK(empty == 0);
      CHECK(next == rows);
    }
}

TEST_CASE("A block has as many threads as a row has columns, in whole warps") {
  CHECK(rows_grid(split_rows(5, 8), 1).threads == 32);
  CHECK(rows_grid(split_rows(5, 8), 33).threads == 64);
  CHECK(rows_grid(split_rows(5, 8), 4096).threads == 256);
  CHECK(rows_grid(split_rows(5, 8), 4096).x == 5);
}
