#include "train/compress/wanda_variant.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/parallel.h"

namespace sinter {
namespace {

constexpr std::int64_t kRows = 16;
constexpr double kFrom = 0.4, kMost = 0.8, kNear = 0.001;
constexpr int kHalvings = 40;

}  // namespace

template <class T>
void drop_by_share(std::span<const T> score, std::int64_t rows, Fraction target, std::span<std::uint8_t> drop) {
  const std::size_t n = score.size() / std::size_t(rows);
  std::vector<T> sums(score.begin(), score.end());  // of the lowest 1, 2 .. n of each row
  parallel_for(rows, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto row = std::span(sums).subspan(std::size_t(i) * n, n);
      std::ranges::sort(row);
      double sum = 0;
      for (T& v : row) v = T(sum += double(v));
    }
  });
  const auto zeros_of = [&](std::int64_t i, double alpha) {
    const auto row = std::span(sums).subspan(std::size_t(i) * n, n);
    return std::int64_t(std::ranges::upper_bound(row, T(double(row.back()) * alpha)) - row.begin());
  };
  const auto share = [&](double alpha) {
    std::int64_t zeros = 0;
    for (std::int64_t i = 0; i < rows; ++i) zeros += zeros_of(i, alpha);
    return double(zeros) / double(score.size());
  };
  double alpha = kFrom, low = 0, high = kMost;
  for (int k = 0; k < kHalvings; ++k) {
    const double found = share(alpha);
    if (std::abs(found - target.zeros) <= kNear) break;
    (found > target.zeros ? high : low) = alpha;
    alpha = (low + high) / 2;
  }
  parallel_for(rows, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      drop_lowest(score.subspan(std::size_t(i) * n, n), zeros_of(i, alpha), drop.subspan(std::size_t(i) * n, n));
  });
}

template void drop_by_share(std::span<const float>, std::int64_t, Fraction, std::span<std::uint8_t>);
template void drop_by_share(std::span<const double>, std::int64_t, Fraction, std::span<std::uint8_t>);

}  // namespace sinter
