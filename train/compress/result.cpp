#include "train/compress/result.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "ops/gemm.h"

namespace sinter {
namespace {

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

double energy(const Tensor& d, const LayerStats* s) {
  return visit_float(d.dtype(), "energy", [&]<class T>() {
    if (s && s->gram) return trace<T>(ConstView(d), ConstView(s->gram));
    return diagonal_trace<T>(d, s && s->column_sq ? s->column_sq.data<T>() : std::span<const T>());
  });
}

}  // namespace

double output_error(const Tensor& w, const Tensor& compressed, const LayerStats* s) {
  Tensor d = Tensor::empty(w.shape(), w.dtype());
  visit_float(w.dtype(), "output_error", [&]<class T>() {
    const auto W = w.data<T>(), C = compressed.data<T>();
    const auto D = d.mutable_data<T>();
    for (std::size_t i = 0; i < D.size(); ++i) D[i] = W[i] - C[i];
  });
  const double lost = energy(d, s), all = energy(w, s);
  if (all == 0) return 0;
  const double error = lost / all;
  return error < 0 ? 0 : error;  // rounding; NaN stays
}

LayerResult make_result(const LayerProblem& p, Tensor dense, const std::optional<GridRule>& quantised) {
  LayerResult r;
  if (!quantised && p.store != dense.dtype()) dense = cast(cast(dense, p.store), dense.dtype());
  visit_float(dense.dtype(), p.name, [&]<class T>() {
    const auto values = dense.data<T>();
    r.zeros = double(std::ranges::count(values, T(0))) / double(std::max<std::size_t>(values.size(), 1));
  });
  r.error = output_error(p.weight, dense, p.stats);
  require(std::isfinite(r.error), ErrorCode::numeric, p.name, "the weight, its inputs or its result are not finite");
  double kept = 1, mask = 0;
  if (const auto* f = std::get_if<Fraction>(&p.sparsity)) kept = 1 - f->zeros;
  if (const auto* k = std::get_if<KeepOf>(&p.sparsity)) kept = double(k->keep) / k->of;
  if (kept < 1) mask = 1;
  const double scale_and_zero = quantised ? (32. + 8.) / double(group_width(*quantised, dense.shape()[1])) : 0;
  r.bits_per_weight = kept * (quantised ? quantised->bits : 8. * double(info(p.store).size)) + mask + scale_and_zero;
  r.dense = std::move(dense);
  return r;
}

PackedInt pack_grid(const Tensor& codes, const Grid& grid, int bits, std::span<const std::int64_t> order) {
  PackedInt p;
  p.rows = codes.shape()[0];
  p.cols = codes.shape()[1];
  p.group = grid.group;
  p.bits = bits;
  p.codes = pack_codes(codes, bits);
  p.scale = grid.scale;
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
  require(rule.group == -1 || rule.group > 0, ErrorCode::usage, method, "group ", rule.group,
          " is not a number of weights (-1: the whole row)");
  check_rule(rule, method);
  return rule;
}

}  // namespace sinter
