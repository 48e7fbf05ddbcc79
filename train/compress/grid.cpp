#include "train/compress/grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"

namespace sinter {
namespace {

constexpr std::int64_t kRows = 16;  // one parallel chunk

template <class T>
double shrink_error(std::span<const T> w, Levels<T> levels, T top) {
  double sum = 0;
  for (const T v : w) {
    const T q = levels.scale * (code_of(v, levels.scale, levels.zero, top) - levels.zero);
    sum += std::pow(double(std::abs(q - v)), 2.4);
  }
  return sum;
}

template <class T>
T stored_scale(T scale, const GridRule& rule) {
  constexpr double kCut = 1 - 0x1p-10;  // twice what rounding in the normal range takes
  if (rule.scale32) return scale;
  f16 h = from_float<f16>(double(scale));
  const double nearest = double(to_float(h));
  if (nearest == 0 || !std::isfinite(nearest)) return scale;
  if (nearest < double(scale) * kCut) ++h.bits;  // the next number
  return T(to_float(h));
}

template <class T>
Levels<T> levels_of(T lo, T hi, T top, const GridRule& rule) {
  Levels<T> l{stored_scale((hi - lo) / top, rule), T(1 << (rule.bits - 1))};
  if (rule.symmetric) return l;
  l.zero = std::min(nearest_even(-lo / l.scale), top);
  if (rule.min_zero && l.zero < 1) l = {stored_scale(hi / (top - 1), rule), T(1)};
  return l;
}

template <class T>
Levels<T> best_shrunk(std::span<const T> w, T lo, T hi, T top, const GridRule& rule) {
  Levels<T> best = levels_of(lo, hi, top, rule);
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 80; ++i) {
    const T p = T(1 - i / 100.);
    if (!((p * hi - p * lo) / top > 0)) break;
    const Levels<T> tried = levels_of(p * lo, p * hi, top, rule);
    const double error = shrink_error(w, tried, top);
    if (error < least) {
      least = error;
      best = tried;
    }
  }
  return best;
}

}  // namespace

template <class T>
Levels<T> find_levels(std::span<const T> w, const GridRule& rule, std::string_view where) {
  const T top = T((1 << rule.bits) - 1);
  T lo = 0, hi = 0;
  bool finite = true;
  for (const T v : w) {
    finite &= std::isfinite(v);
    lo = std::min(lo, v);
    hi = std::max(hi, v);
  }
  require(finite && std::isfinite(hi - lo), ErrorCode::numeric, where, "a weight is not finite");
  if (rule.symmetric) {
    hi = std::max(hi, -lo);
    lo = rule.half_sym && lo == 0 ? T(0) : -hi;
  }
  if ((hi - lo) / top < std::numeric_limits<T>::min()) {  // all zero, or too small to divide by
    lo = -1;
    hi = 1;
  }
  return rule.mse ? best_shrunk(w, lo, hi, top, rule) : levels_of(lo, hi, top, rule);
}

Grid empty_grid(std::int64_t rows, std::int64_t columns, const GridRule& rule, DType dtype) {
  const std::int64_t group = group_width(rule, columns), groups = (columns + group - 1) / group;
  return {group, Tensor::empty({rows, groups}, dtype), Tensor::empty({rows, groups}, DType::u8)};
}

Grid find_grid(const Tensor& w, const GridRule& rule, std::string_view where) {
  const std::int64_t m = w.shape()[0], n = w.shape()[1];
  Grid grid = empty_grid(m, n, rule, w.dtype());
  const std::int64_t groups = grid.zero.shape()[1];
  visit_float(w.dtype(), where, [&]<class T>() {
    const auto W = w.data<T>();
    const auto scale = grid.scale.mutable_data<T>();
    const auto zero = grid.zero.mutable_data<std::uint8_t>();
    parallel_for(m * groups, kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t k = begin; k < end; ++k) {
        const std::int64_t i = k / groups, j = k % groups * grid.group;
        const auto found =
            find_levels(W.subspan(std::size_t(i * n + j), std::size_t(std::min(grid.group, n - j))), rule, where);
        scale[std::size_t(k)] = found.scale;
        zero[std::size_t(k)] = std::uint8_t(found.zero);
      }
    });
  });
  return grid;
}

Tensor nearest_codes(const Tensor& w, const Grid& grid, int bits) {
  const std::int64_t m = w.shape()[0], n = w.shape()[1], groups = grid.zero.shape()[1];
  Tensor codes = Tensor::empty({m, n}, DType::u8);
  visit_float(w.dtype(), "nearest_codes", [&]<class T>() {
    const auto W = w.data<T>(), scale = grid.scale.data<T>();
    const auto zero = grid.zero.data<std::uint8_t>();
    const auto out = codes.mutable_data<std::uint8_t>();
    const T top = T((1 << bits) - 1);
    parallel_for(m, kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          const auto g = std::size_t(i * groups + j / grid.group), at = std::size_t(i * n + j);
          out[at] = std::uint8_t(code_of(W[at], scale[g], T(zero[g]), top));
        }
    });
  });
  return codes;
}

Tensor dequantise(const Tensor& codes, const Grid& grid) {
  const std::int64_t m = codes.shape()[0], n = codes.shape()[1], groups = grid.zero.shape()[1];
  Tensor w = Tensor::empty({m, n}, grid.scale.dtype());
  visit_float(w.dtype(), "dequantise", [&]<class T>() {
    const auto C = codes.data<std::uint8_t>(), zero = grid.zero.data<std::uint8_t>();
    const auto scale = grid.scale.data<T>();
    const auto out = w.mutable_data<T>();
    parallel_for(m, kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          const auto g = std::size_t(i * groups + j / grid.group), at = std::size_t(i * n + j);
          out[at] = scale[g] * (T(C[at]) - T(zero[g]));
        }
    });
  });
  return w;
}

void check_rule(const GridRule& rule, std::string_view where) {
  const int b = rule.bits;
  require(b == 2 || b == 3 || b == 4 || b == 8, ErrorCode::usage, where, "--bits ", b, ": choose 2, 3, 4 or 8");
}

template Levels<float> find_levels(std::span<const float>, const GridRule&, std::string_view);
template Levels<double> find_levels(std::span<const double>, const GridRule&, std::string_view);

}  // namespace sinter
