#include "train/compress/result.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "ops/gemm.h"

namespace sinter {
namespace {

constexpr double kWorse = 1.05;  // 16 rows stand for all
constexpr std::int64_t kRows = 256, kColumns = 512;  // one piece of the trace

template <class T>
double dot(const ConstView& a, const ConstView& b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.rows(); ++i) {
    const auto x = a.row<T>(i), y = b.row<T>(i);
    for (std::size_t j = 0; j < x.size(); ++j) sum += double(x[j]) * double(y[j]);
  }
  return sum;
}

// tr(D H Dᵀ), by the blocks on and above H's diagonal.
template <class T>
double trace(const ConstView& d, const ConstView& h) {
  const std::int64_t n = h.rows(), across = (n + kColumns - 1) / kColumns, down = (d.rows() + kRows - 1) / kRows;
  std::vector<double> parts(std::size_t(down * across));
  parallel_for(down * across, 1, [&](std::int64_t piece, std::int64_t) {
    const std::int64_t i = piece / across * kRows, j = piece % across * kColumns, end = std::min(n, j + kColumns);
    const ConstView rows = d.row_range(i, std::min(d.rows(), i + kRows)), here = rows.col_range(j, end);
    const auto part = [&](std::int64_t begin, std::int64_t stop) {
      const Tensor p =
          matmul(rows.col_range(begin, stop), Trans::no, h.row_range(begin, stop).col_range(j, end), Trans::no);
      return dot<T>(ConstView(p), here);
    };
    parts[std::size_t(piece)] = part(j, end) + (j > 0 ? 2 * part(0, j) : 0.);
  });
  double sum = 0;
  for (const double p : parts) sum += p;
  return sum;
}

// The same for a diagonal H (empty: the unit matrix).
template <class T>
double diagonal_trace(const Tensor& d, std::span<const T> h) {
  const std::int64_t n = d.shape()[1];
  const auto D = d.data<T>();
  return ordered_sum(d.numel(), [&](std::int64_t begin, std::int64_t end) {
    double sum = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const double v = double(D[std::size_t(i)]);
      sum += v * v * (h.empty() ? 1. : double(h[std::size_t(i % n)]));
    }
    return sum;
  });
}

// tr(D H Dᵀ) with what the statistics know of H.
double energy(const Tensor& d, const LayerStats* s) {
  return visit_float(d.dtype(), "energy", [&]<class T>() {
    if (s && s->gram) return trace<T>(ConstView(d), ConstView(s->gram));
    return diagonal_trace<T>(d, s && s->column_sq ? s->column_sq.data<T>() : std::span<const T>());
  });
}

Tensor difference(const Tensor& a, const Tensor& b) {
  Tensor d = Tensor::empty(a.shape(), a.dtype());
  visit_float(a.dtype(), "difference", [&]<class T>() {
    std::ranges::transform(a.data<T>(), b.data<T>(), d.mutable_data<T>().begin(), std::minus<T>());
  });
  return d;
}

// Rounds dense [m, n] to a type that will store it; returns Σ δ_ij² h_j of that rounding, h [n].
double round_to(Tensor& dense, DType store, std::span<const double> h) {
  const auto n = std::size_t(dense.shape()[1]);
  if (!dense.sole_owner()) dense = dense.clone();
  return visit_float(dense.dtype(), "rounding", [&]<class T>() {
    const auto values = dense.mutable_data<T>();
    return visit_stored(store, "rounding", [&]<class S>() {
      return ordered_sum(dense.numel(), [&](std::int64_t begin, std::int64_t end) {
        double sum = 0;
        for (auto i = std::size_t(begin), j = i % n; i < std::size_t(end); ++i, j = j + 1 == n ? 0 : j + 1) {
          const T rounded = T(to_float(from_float<S>(double(values[i]))));
          const double d = double(values[i]) - double(rounded);
          sum += d * d * h[j];
          values[i] = rounded;
        }
        return sum;
      });
    });
  });
}

}  // namespace

double output_error(const Tensor& w, const Tensor& compressed, const LayerStats* s) {
  const double lost = energy(difference(w, compressed), s), all = energy(w, s);
  if (all == 0) return 0;
  return std::max(lost / all, 0.);  // rounding; NaN stays
}

LayerResult make_result(const LayerProblem& p, Tensor dense, bool quantised, std::optional<double> before_rounding) {
  constexpr double kRounding = 0.01;
  LayerResult r;
  const std::vector<double> h = p.stats ? hessian_diagonal(*p.stats) : std::vector<double>();
  const bool gram = p.stats && p.stats->gram;
  bool known = before_rounding.has_value();
  double lost = before_rounding.value_or(0);
  if (!quantised && p.store != dense.dtype()) {
    const double share = round_to(dense, p.store, h.empty() ? std::vector(std::size_t(dense.shape()[1]), 1.) : h);
    known &= share <= kRounding * lost || !gram;
    lost += share;
  }
  visit_float(dense.dtype(), p.name, [&]<class T>() {
    const auto values = dense.data<T>();
    r.zeros = double(std::ranges::count(values, T(0))) / double(std::max<std::size_t>(values.size(), 1));
  });
  const double all = (gram || known) && p.energy ? *p.energy : energy(p.weight, p.stats);
  if (!known) lost = energy(difference(p.weight, dense), p.stats);
  require(std::isfinite(lost) && std::isfinite(all), ErrorCode::numeric, p.name,
          "the weight, its inputs or its result are not finite");
  r.error = all == 0 ? 0 : std::max(lost / all, 0.);
  r.dead = std::ranges::count(h, 0.);
  r.dense = std::move(dense);
  return r;
}

std::vector<std::string> remarks(const LayerResult& r) {
  std::vector<std::string> list;
  const auto add = [&list](const auto&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    list.push_back(text.str());
  };
  if (r.dead > 0) add(r.dead, " of its inputs are zero in all calibration windows");
  if (r.ladder > 0)
    add("the Hessian could not be factored; damping raised to ", r.damp, r.ladder > 3 ? ", and f64 taken" : "");
  if (r.over_plain > kWorse)
    add("the updates make it worse: ", r.over_plain,
        " times the error of doing without; the calibration data may be too short or broken");
  return list;
}

PackedInt pack_grid(const Tensor& codes, const Grid& grid, int bits, std::span<const std::int64_t> order) {
  PackedInt p;
  p.rows = codes.shape()[0];
  p.cols = codes.shape()[1];
  p.group = grid.group;
  p.bits = bits;
  p.codes = pack_codes(codes, bits);
  p.scale = cast_if_exact(grid.scale, DType::f16);
  p.zero = grid.zero;
  if (!order.empty()) {
    p.order = Tensor::empty({p.cols}, DType::i32);
    std::ranges::transform(order, p.order.mutable_data<std::int32_t>().begin(), [](auto j) { return std::int32_t(j); });
  }
  return p;
}

GridRule read_grid_rule(MethodOptions& o, std::string_view method) {
  GridRule rule;
  rule.bits = int(std::clamp<std::int64_t>(o.integer("bits", 4), 0, 99));
  rule.group = o.integer("group", -1);
  rule.symmetric = o.flag("sym");
  rule.mse = o.flag("mse");
  rule.scale32 = o.flag("scale32");
  rule.min_zero = o.flag("min_zero");
  rule.half_sym = o.flag("half_sym");
  require(rule.group == -1 || rule.group > 0, ErrorCode::usage, method, "--group-size ", rule.group,
          " is not a number of weights (-1: the whole row)");
  check_rule(rule, method);
  return rule;
}

}  // namespace sinter
