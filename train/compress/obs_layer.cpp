#include "train/compress/obs_layer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/parallel.h"
#include "train/compress/plain.h"
#include "train/compress/result.h"

namespace sinter {
namespace {

using Order = std::vector<std::int64_t>;

// Column j of the result is column order[j] of t (`undo`: the other way round).
template <class T>
Tensor reordered(const Tensor& t, const Order& order, bool undo) {
  const std::int64_t m = t.shape()[0], n = t.shape()[1];
  Tensor out = Tensor::empty(t.shape(), t.dtype());
  const auto from = t.data<T>();
  const auto to = out.mutable_data<T>();
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int64_t there = order[std::size_t(j)];
      to[std::size_t(i * n + (undo ? there : j))] = from[std::size_t(i * n + (undo ? j : there))];
    }
  return out;
}

Tensor reordered(const Tensor& t, const Order& order, bool undo) {
  if (order.empty() || !t) return t;
  if (t.dtype() == DType::u8) return reordered<std::uint8_t>(t, order, undo);
  return visit_float(t.dtype(), "act-order", [&]<class T>() { return reordered<T>(t, order, undo); });
}

// A column that no input excites may be anything: zero.
Tensor without(const Tensor& w, const Order& dead) {
  if (dead.empty()) return w;
  Tensor out = w.clone();
  const std::int64_t m = w.shape()[0], n = w.shape()[1];
  visit_float(w.dtype(), "dead columns", [&]<class T>() {
    const auto data = out.mutable_data<T>();
    for (std::int64_t i = 0; i < m; ++i)
      for (const std::int64_t j : dead) data[std::size_t(i * n + j)] = 0;
  });
  return out;
}

ObsOptions sweep_options(const LayerProblem& p, const ObsSettings& s, const Tensor& w, const Order& order) {
  ObsOptions o;
  o.sparsity = p.sparsity;
  o.grid = s.grid;
  o.stale_groups = s.stale_groups;
  o.one_more = s.one_more;
  o.block = s.block;
  if (!s.grid) return o;
  const std::int64_t n = w.shape()[1], group = group_width(*s.grid, n);
  if (group == n) o.known = find_grid(p.weight, *s.grid, p.name);
  else if (s.static_groups) o.known = find_grid(w, *s.grid, p.name);
  if (group < n && s.static_groups)
    for (const std::int64_t j : order) o.group_of.push_back(j / group);
  return o;
}

// λ · mean(diag H), which was added to the diagonal: a dead column's 0 counts as 1.
double added(const LayerStats& s, const Factor& f) {
  const std::vector<double> h = hessian_diagonal(s);
  return f.damp * std::accumulate(h.begin(), h.end(), double(f.dead.size())) / double(h.size());
}

double squared_distance(const Tensor& a, const Tensor& b) {
  return visit_float(a.dtype(), "distance", [&]<class T>() {
    const auto x = a.data<T>(), y = b.data<T>();
    return ordered_sum(a.numel(), [&](std::int64_t begin, std::int64_t end) {
      double sum = 0;
      for (auto i = std::size_t(begin); i < std::size_t(end); ++i) {
        const double d = double(x[i]) - double(y[i]);
        sum += d * d;
      }
      return sum;
    });
  });
}

// tr(D H Dᵀ) = 2·loss − λ·mean(diag H)·‖D‖², D = w − ŵ, as the loss is that of the damped H, and D is 0 in dead columns.
// Where the damping makes up more than nine tenths of the loss, the difference would have lost a digit: nothing, if the
// Gram matrix is still there to compute the trace from.
std::optional<double> undamped(double loss, double damping, const Tensor& w, const Tensor& solved, bool gram) {
  constexpr double kLeft = 0.1;
  const double lost = 2 * loss - damping * squared_distance(w, solved);
  if (gram && lost < kLeft * 2 * loss) return std::nullopt;
  return std::max(lost, 0.);
}

Tensor take_gram(const LayerProblem& p) {
  const std::int64_t n = p.weight.shape()[1];
  require(p.stats && (p.stats->gram || (p.spend && p.memo)), ErrorCode::unsupported, p.name,
          "needs the Gram matrix of its inputs");
  check_finite(*p.stats, p.name);
  if (!p.stats->gram) return {};
  require(p.stats->gram.dtype() == p.weight.dtype() && p.stats->gram.shape() == Shape{n, n}, ErrorCode::shape, p.name,
          "statistics ", p.stats->gram.shape(), " for a weight ", p.weight.shape());
  return p.spend ? std::exchange(p.spend->gram, {}) : p.stats->gram;
}

}  // namespace

ObsSettings read_obs_settings(MethodOptions& o, std::string_view method, bool quantises) {
  ObsSettings s;
  s.damp = o.number("damp", s.damp);
  s.block = o.integer("block", s.block);
  s.act_order = o.flag("act_order");
  require(s.damp >= 0 && std::isfinite(s.damp), ErrorCode::usage, method, "--percdamp ", s.damp,
          " is not a share of the diagonal");
  require(s.block > 0, ErrorCode::usage, method, "--block-size ", s.block, " is not positive");
  if (!quantises && !o.has("bits")) return s;
  s.grid = read_grid_rule(o, method);
  s.static_groups = o.flag("static_groups");
  s.stale_groups = o.flag("stale_groups");
  return s;
}

void check_obs_pattern(const ObsSettings& s, const Sparsity& sparsity, std::int64_t columns, std::string_view where) {
  check_sparsity(sparsity, columns, where);
  const auto* p = std::get_if<KeepOf>(&sparsity);
  if (!p) return;
  require(!s.act_order, ErrorCode::usage, where, "--act-order does not go with --pattern ", p->keep, ':', p->of,
          ": the sweep chooses each group as it comes to it, and in act-order neighbours are apart");
  if (!s.grid || s.static_groups) return;
  const std::int64_t group = group_width(*s.grid, columns);
  require(group == columns || group % p->of == 0, ErrorCode::usage, where, "--group-size ", group,
          " does not divide into the groups of --pattern ", p->keep, ':', p->of,
          "; --static-groups needs no such thing");
}

LayerResult compress_by_obs(const LayerProblem& p, const ObsSettings& s, const Tensor& drop) {
  const std::int64_t n = p.weight.shape()[1];
  if (!drop) check_obs_pattern(s, p.sparsity, n, p.name);
  FactorMemo own;
  const auto factor = (p.memo ? *p.memo : own).get(take_gram(p), {.damp = s.damp, .act_order = s.act_order}, p.name);
  const Order& order = factor->order;
  const Tensor w = without(p.weight, factor->dead), gram = p.stats->gram;
  ObsOptions options = sweep_options(p, s, w, order);
  options.drop = reordered(drop, order, false);
  ObsResult solved = solve_obs(reordered(w, order, false), factor->root, options, p.name);

  const SweepOrder columns{order, options.group_of, s.grid ? s.grid->bits : 0};
  const double over = gram ? over_plain(w, solved, columns, gram) : 0;
  Tensor result = reordered(std::exchange(solved.w, {}), order, true);
  const auto lost = undamped(solved.loss, added(*p.stats, *factor), w, result, bool(gram));
  LayerResult r = make_result(p, std::move(result), bool(s.grid), lost);
  r.over_plain = over;
  r.loss = solved.loss;
  r.damp = factor->damp;
  r.ladder = factor->ladder;
  r.few_tokens = p.stats->tokens < n;
  if (s.grid && solved.grid.scale.dtype() == DType::f32) {
    const bool gather = !options.known && !order.empty();  // groups of columns that are no neighbours
    r.packed = gather ? pack_grid(solved.codes, solved.grid, s.grid->bits, order)
                      : pack_grid(reordered(solved.codes, order, true), solved.grid, s.grid->bits);
  }
  return r;
}

}  // namespace sinter
