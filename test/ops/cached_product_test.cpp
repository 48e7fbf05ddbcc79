#include "ops/cached_product.h"

#include <vector>

#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// Both ways of storing a, with strides larger than need be, written and added to.
template <class T>
void compare(std::int64_t m, std::int64_t n, std::int64_t k, double tolerance) {
  const Tensor left = randn({m + k, m + k}, 1, dtype_of<T>), b = randn({k, n + 3}, 2, dtype_of<T>),
               c0 = randn({m, n + 1}, 3, dtype_of<T>);
  for (const bool by_rows : {true, false})
    for (const bool add : {false, true}) {
      Tensor c = c0.clone();
      const CachedFactor<T> a{left.data<T>().data(), by_rows ? m + k : 1, by_rows ? 1 : m + k};
      cached_product(m, n, k, a, b.data<T>().data(), n + 3, c.mutable_data<T>().data(), n + 1, add);
      double worst = 0;
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j <= n; ++j) {
          double sum = j == n || add ? value_at(c0, i * (n + 1) + j) : 0;
          for (std::int64_t p = 0; p < k && j < n; ++p)
            sum += double(a.data[i * a.row + p * a.col]) * value_at(b, p * (n + 3) + j);
          worst = std::max(worst, std::abs(sum - value_at(c, i * (n + 1) + j)));
        }
      CHECK(worst < tolerance);
    }
}

}  // namespace

TEST_CASE("Products of cached matrices equal the sums, whole parts and rests, of all strides") {
  for (const std::int64_t m : {1, 7, 8, 19})
    for (const std::int64_t n : {1, 15, 16, 37})
      for (const std::int64_t k : {1, 2, 33}) {
        compare<float>(m, n, k, 2e-5);  // 33 terms of order 1
        compare<double>(m, n, k, 1e-13);
      }
  // A single row and a single column that follow one another in memory
  const std::vector<float> x{1, 2, 3, 4}, y{5, 6, 7, 8};
  float dot = 0, outer[4] = {};
  cached_product(1, 1, 4, CachedFactor<float>{x.data(), 1, 1}, y.data(), 1, &dot, 1, false);
  CHECK(dot == 70);
  cached_product(4, 1, 1, CachedFactor<float>{x.data(), 1, 1}, y.data(), 1, outer, 1, false);
  CHECK(outer[3] == 20);
}
