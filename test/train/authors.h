#pragma once
#include <cmath>

#include "test/check.h"

// What the golden files of the published code hold, and how results are compared with it (test/golden/README.md).
namespace sinter::test {

struct Agreement {
  std::int64_t equal = 0, all = 0;
  void add(bool same) {
    equal += same;
    ++all;
  }
  double share() const { return double(equal) / double(all); }
};

// Entry i of a stream of `bits`-bit numbers, least significant bit first.
inline unsigned entry(const Tensor& stream, std::int64_t i, int bits) {
  const auto bytes = stream.data<std::uint8_t>();
  unsigned v = 0;
  for (int b = 0; b < bits; ++b) v |= (bytes[std::size_t((i * bits + b) / 8)] >> ((i * bits + b) % 8) & 1u) << b;
  return v;
}

// Zeros of w [m, n] against a stream of mask bits, 1 = pruned, of every step-th row.
inline void compare_masks(Agreement& a, const Tensor& w, const Tensor& stream, std::int64_t step = 1) {
  const std::int64_t m = w.shape()[0], n = w.shape()[1];
  for (std::int64_t i = 0; i < m; i += step)
    for (std::int64_t j = 0; j < n; ++j)
      a.add((value_at(w, i * n + j) == 0) == (entry(stream, i / step * n + j, 1) == 1));
}

// The codes of weights w [m, n] that lie on the grids scale, zero [m, G] of `group` neighbours, of every step-th row.
inline void compare_codes(Agreement& a, const Tensor& w, const Tensor& scale, const Tensor& zero, std::int64_t group,
                          const Tensor& stream, int bits, std::int64_t step) {
  const std::int64_t m = w.shape()[0], n = w.shape()[1], groups = scale.shape()[1];
  const auto Z = zero.data<std::uint8_t>();
  for (std::int64_t i = 0; i < m; i += step)
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int64_t g = i * groups + j / group;
      const double code = std::nearbyint(value_at(w, i * n + j) / value_at(scale, g)) + Z[std::size_t(g)];
      a.add(code == entry(stream, i / step * n + j, bits));
    }
}

}  // namespace sinter::test
