#pragma once
#include <span>

#include "core/tensor.h"

namespace sinter {

// How a group of neighbouring weights of one row gets its levels, w = scale·(code − zero) with code in 0 .. 2^bits − 1.
//   lo = min(0, min w), hi = max(0, max w); symmetric: hi = max(hi, −lo), lo = −hi; lo = hi = 0 becomes −1, 1
//   scale = (hi − lo) / (2^bits − 1);  zero = symmetric ? 2^(bits−1) : round(−lo / scale)
// Rounding is half to even throughout. Zero is always a level, so a pruned weight stays zero.
// The symmetric grid of a group of one sign still reaches to both sides. Its ±hi are half a step from the nearest level.
// half_sym: in a group without a negative weight lo = 0, but zero in the middle, as in the GPTQ code; all above the
// middle of the range is clipped.
// The scale is then rounded to f16, so that files with f16 scales hold the grid exactly: to the nearest, below f16's
// normal range upwards where the nearest would cut the range; one that f16 has no finite positive number for stays.
// mse: of the 80 grids shrunk by 0 .. 79 %, each with its rounded scale, the one of least Σ |q(w) − w|^2.4.
// min_zero: a group without a negative weight has zero = 1 and one level fewer, because GPTQ's first file format
// stores zero − 1 in as many bits as a code.
struct GridRule {
  int bits = 4;
  bool symmetric = false, mse = false;
  bool scale32 = false, min_zero = false, half_sym = false;  // scale32: no rounding to f16, as in the GPTQ code
  std::int64_t group = -1;  // weights that share a grid; <= 0: the whole row. The last group of a row may be short
};

// The weights that share a grid, for a row of n.
inline std::int64_t group_width(const GridRule& rule, std::int64_t n) {
  return rule.group <= 0 || rule.group > n ? n : rule.group;
}

template <class T>
struct Levels {
  T scale, zero;
};

template <class T>
constexpr T nearest_even(T x) {  // for |x| up to 2^22 (f32) or 2^51 (f64)
  constexpr T kShift = T(sizeof(T) == 4 ? 0x1.8p23 : 0x1.8p52);
  return (x + kShift) - kShift;
}

// The code of w, a whole number.
template <class T>
constexpr T code_of(T w, T scale, T zero, T top) {
  const T x = w / scale, low = -zero, high = top - zero;
  const T above = x < low ? low : x;
  return nearest_even(above > high ? high : above) + zero;
}

// Error(numeric) named `where` when a weight is not finite.
template <class T>
Levels<T> find_levels(std::span<const T> w, const GridRule&, std::string_view where);

// The grids of a matrix [m, n], G = ceil(n / group) per row.
struct Grid {
  std::int64_t group = 0;
  Tensor scale;  // [m, G], of the weight's type
  Tensor zero;  // u8 [m, G]
};
Grid empty_grid(std::int64_t rows, std::int64_t columns, const GridRule&, DType);
Grid find_grid(const Tensor& w, const GridRule&, std::string_view where);

// Nearest codes u8 [m, n], and the weights they stand for.
Tensor nearest_codes(const Tensor& w, const Grid&, int bits);
Tensor dequantise(const Tensor& codes, const Grid&);

void check_rule(const GridRule&, std::string_view where);  // bits 2, 3, 4 or 8: Error(usage)

}  // namespace sinter
