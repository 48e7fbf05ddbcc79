#include "train/merge.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/basic_kernels.h"
#include "models/weights/formats.h"
#include "train/compress/result.h"

namespace sinter {
namespace {

std::int64_t field(const Packed& p, const char* name) {
  const auto it = p.fields.find(name);
  return it == p.fields.end() ? 0 : it->second;
}
bool has_codes(const Packed& p) { return field(p, "bits") > 0; }
bool is_sparse(const Packed& p) { return p.tag == "bitmap" || p.tag == "n_of_m"; }

double zero_share(const Tensor& w) {
  return double(std::ranges::count(w.data<float>(), 0.f)) / double(std::max<std::int64_t>(w.numel(), 1));
}

// Whether zeros are a mask that somebody made: the format says so, or there are more than chance makes. The level 0 of a
// grid takes some 2 / (2^bits − 1) of normal weights, twice that in rows with outliers.
bool holds_mask(const Packed& p, const Tensor& w) {
  const double by_chance = has_codes(p) ? 5 / (std::exp2(double(field(p, "bits"))) - 1) : 0;
  return is_sparse(p) || zero_share(w) > std::max(0.05, by_chance);
}

// ‖a − b‖² / ‖a‖²
double relative_error(const Tensor& a, const Tensor& b) {
  const auto A = a.data<float>(), B = b.data<float>();
  double lost = 0, all = 0;
  for (std::size_t i = 0; i < A.size(); ++i) {
    lost += (double(A[i]) - double(B[i])) * (double(A[i]) - double(B[i]));
    all += double(A[i]) * double(A[i]);
  }
  return all > 0 ? lost / all : 0;
}

void check_finite(const Tensor& w, const std::string& name) {
  require(std::ranges::all_of(w.data<float>(), [](float v) { return std::isfinite(v); }), ErrorCode::numeric, name,
          "merging gives values that are not finite");
}

void check(const Linear& l, const MergeOptions& o) {
  const Packed p = l.frozen()->pack();
  const bool keeps_zeros = l.adapter()->keeps_zeros();
  require(!has_codes(p) || o.requantise || o.dense || (is_sparse(p) && keeps_zeros), ErrorCode::usage, l.name(),
          "is stored as codes, which cannot take the adapter exactly: keep the adapter beside the model, or merge with "
          "--requantise or --dense");
  require(keeps_zeros || o.remask || o.densify || !holds_mask(p, l.dense()), ErrorCode::usage, l.name(),
          "is sparse and LoRA would fill its zeros: merge with --remask to keep them, or with --densify");
}

Tensor merged_values(const Linear& l, const Tensor& before, const MergeOptions& o) {
  const FrozenWeight& w = *l.frozen();
  Tensor out = l.adapter()->merged(w, w.all());
  if (!o.remask) return out;
  const auto values = out.mutable_data<float>();
  const auto old = before.data<float>();
  for (std::size_t i = 0; i < values.size(); ++i)
    if (old[i] == 0) values[i] = old[i];
  return out;
}

// The order of columns in which neighbours share a grid: act-order's; empty where it is their own.
std::vector<std::int64_t> grid_order(const Packed& p) {
  std::vector<std::int64_t> order;
  if (const auto it = p.parts.find("order"); it != p.parts.end()) {
    for (const auto j : it->second.data<std::int32_t>()) order.push_back(j);
  } else if (const auto of = p.parts.find("group_of"); of != p.parts.end()) {
    const auto group = of->second.data<std::int32_t>();
    order.resize(group.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, {}, [&](std::int64_t j) { return group[std::size_t(j)]; });
  }
  return order;
}

Tensor in_order(const Tensor& w, std::span<const std::int64_t> order) {
  if (order.empty()) return w;
  Tensor out = Tensor::empty(w.shape(), DType::f32);
  const auto from = w.data<float>();
  const auto to = out.mutable_data<float>();
  for (std::size_t row = 0; row < from.size(); row += order.size())
    for (std::size_t k = 0; k < order.size(); ++k) to[row + k] = from[row + std::size_t(order[k])];
  return out;
}

// The nearest codes on new grids of the same kind: symmetric where all zero points stand in the middle.
PackedInt requantised(const Tensor& w, const Packed& like, std::string_view where) {
  GridRule rule;
  rule.bits = int(field(like, "bits"));
  rule.group = field(like, "group");
  const auto zeros = like.parts.at("zero").data<std::uint8_t>();
  rule.symmetric = std::ranges::all_of(zeros, [&](auto z) { return int(z) == 1 << (rule.bits - 1); });
  const auto order = grid_order(like);
  const Tensor columns = in_order(w, order);
  const Grid grid = find_grid(columns, rule, where);
  return pack_grid(nearest_codes(columns, grid, rule.bits), grid, rule.bits, order);
}

FrozenWeightPtr stored(const Tensor& merged, const Tensor& mask, const Packed& like, const MergeOptions& o,
                       std::string_view where) {
  const bool codes = has_codes(like) && o.requantise;
  const KeptPattern pattern{field(like, "keep"), field(like, "of")};
  const bool sparse = is_sparse(like) && mask && !o.dense;
  if (codes) {
    PackedInt packed = requantised(merged, like, where);
    return sparse ? freeze_sparse(keep_codes(packed, mask, pattern)) : freeze_grouped_int(std::move(packed));
  }
  const DType type = has_codes(like) ? o.store : like.parts.at(is_sparse(like) ? "values" : "weight").dtype();
  const Tensor values = cast(merged, type);
  return sparse ? freeze_sparse(keep_values(values, mask, pattern)) : freeze_dense(values);
}

MergeReport compare(const std::string& name, const Tensor& before, const Tensor& merged, const Tensor& now) {
  MergeReport r{name, zero_share(before), zero_share(now), 0, 0, 0, relative_error(merged, now)};
  const auto old = before.data<float>(), is = now.data<float>();
  for (std::size_t i = 0; i < old.size(); ++i) {
    r.zeros += old[i] == 0;
    r.kept += old[i] == 0 && is[i] == 0;
    r.created += old[i] != 0 && is[i] == 0;
  }
  return r;
}

MergeReport merge(Linear& l, const MergeOptions& o) {
  const Packed p = l.frozen()->pack();
  const Tensor before = l.dense(), after = merged_values(l, before, o);
  check_finite(after, l.name());
  const bool same_mask = l.adapter()->keeps_zeros() || o.remask;
  const Tensor mask = same_mask && is_sparse(p) ? p.parts.at("mask") : Tensor();
  FrozenWeightPtr w = stored(after, mask, p, o, l.name());
  const Tensor now = w->dense(w->all());
  check_finite(now, l.name());  // a type of fewer exponents
  (void)l.detach();
  l.replace(std::move(w));
  return compare(l.name(), before, after, now);
}

}  // namespace

std::vector<MergeReport> merge_adapters(CausalLM& model, const MergeOptions& o, LogSink& log) {
  std::vector<Linear*> linears;
  model.each_linear([&](Linear& l) {
    if (!l.adapter()) return;
    check(l, o);
    linears.push_back(&l);
  });
  require(!linears.empty(), ErrorCode::usage, "merge", "the model has no adapter");
  std::vector<MergeReport> reports;
  for (Linear* l : linears) {
    log.check_stop("merge");
    reports.push_back(merge(*l, o));
    log.progress({"merge", std::int64_t(reports.size()), std::int64_t(linears.size()), reports.back().error, "error"});
  }
  return reports;
}

}  // namespace sinter
