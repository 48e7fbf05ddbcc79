#include "train/compress/obs_layer.h"

#include <algorithm>

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

}  // namespace

void read_obs_settings(ObsSettings& s, MethodOptions& o, std::string_view method) {
  s.damp = o.number("damp", s.damp);
  s.block = o.integer("block", s.block);
  s.stale_groups = o.flag("stale_groups");
  require(s.damp >= 0, ErrorCode::usage, method, "damp ", s.damp, " is negative");
  require(s.block > 0, ErrorCode::usage, method, "block ", s.block, " is not positive");
}

LayerResult compress_by_obs(const LayerProblem& p, const ObsSettings& s) {
  require(p.stats && p.stats->gram && p.stats->gram.dtype() == p.weight.dtype(), ErrorCode::unsupported, p.name,
          "needs the Gram matrix of its inputs");
  const Tensor& gram = p.stats->gram;
  require(gram.shape()[0] == p.weight.shape()[1], ErrorCode::shape, p.name, "statistics of ", gram.shape()[0],
          " inputs for a weight ", p.weight.shape());
  FactorMemo own;
  const auto factor = (p.memo ? *p.memo : own).get(gram, {s.damp, s.act_order}, p.name);
  const Tensor w = without(p.weight, factor->dead);
  const ObsOptions options = sweep_options(p, s, w, factor->order);
  ObsResult solved = solve_obs(reordered(w, factor->order, false), factor->upper, options, p.name);

  LayerResult r = make_result(p, reordered(solved.w, factor->order, true), s.grid);
  r.loss = solved.loss;
  r.damp = factor->damp;
  r.ladder = factor->ladder;
  if (s.grid && solved.grid.scale.dtype() == DType::f32) {
    const bool gather = !options.known && !factor->order.empty();  // groups of columns that are no neighbours
    r.packed = gather ? pack_grid(solved.codes, solved.grid, s.grid->bits, factor->order)
                      : pack_grid(reordered(solved.codes, factor->order, true), solved.grid, s.grid->bits);
  }
  return r;
}

}  // namespace sinter
