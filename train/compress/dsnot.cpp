// DSnoT: swaps entries of a pruning mask until the error that each output is expected to have is small; no weight
// changes. Zhang et al., "Dynamic Sparse No Training", ICLR 2024, algorithm 1. Per row i of the weight:
//   D_j = w_ij s_j,  s_j = (1/N) Σ x_j over the tokens of N sequences;  err = Σ D_j of the pruned
//   until |err| ≤ threshold, at most `cycles` times:
//     grow the pruned weight whose D has the sign of err and the largest |D_j| / v_j^power, v_j the variance
//     prune for it, unstructured, the kept weight of least |w_ij| ‖x_j‖ whose D has the other sign,
//                   in n:m, the kept weight of its group of least initial score
//     err += D_pruned − D_grown, unless that turns its sign: then the row ends
// Every weight moves at most once, and a row ends where none is left to grow or to prune.
#include <array>
#include <cmath>

#include "core/parallel.h"
#include "train/compress/pruned.h"

namespace sinter {
namespace {

constexpr std::int64_t kRows = 16;

enum class Start { wanda, magnitude, sparsegpt };

struct Settings {
  Start start = Start::wanda;
  std::int64_t cycles = 50;
  double threshold = 0.1, power = 1, damp = 0.01;
  bool same_sign = true;  // a swap that would turn the sign of err ends the row; the published default goes on
  bool attention_only = false;
  bool overrun = false;  // with no kept weight of the other sign left, prune the largest of the same sign, as published
};

template <class T>
struct Row {
  std::vector<T> D, key, norm, score;  // w s; D / v^power; |w| ‖x‖; what the initial mask goes by
};

// Columns that are taken one by one, the best first.
struct Queue {
  std::vector<std::size_t> columns{};
  std::size_t next = 0;
  std::optional<std::size_t> take() { return next < columns.size() ? std::optional(columns[next++]) : std::nullopt; }
  std::optional<std::size_t> take_last() {
    if (next == columns.size()) return std::nullopt;
    const std::size_t j = columns.back();
    columns.pop_back();
    return j;
  }
};
using BySign = std::array<Queue, 2>;  // D < 0, D > 0

template <class T, class Before>
BySign ranked(const Row<T>& row, std::span<const std::uint8_t> drop, bool dropped, Before before) {
  BySign q;
  for (std::size_t j = 0; j < drop.size(); ++j)
    if (bool(drop[j]) == dropped && (row.D[j] > 0 || row.D[j] < 0)) q[row.D[j] > 0].columns.push_back(j);
  for (Queue& side : q) std::ranges::stable_sort(side.columns, before);
  return q;
}

// The kept weight of least score in the group of column g that has not moved.
template <class T>
std::optional<std::size_t> least_of_group(const Row<T>& row, std::span<const std::uint8_t> still, std::size_t g,
                                          std::size_t of) {
  std::optional<std::size_t> least;
  for (std::size_t j = g - g % of; j < g - g % of + of; ++j)
    if (still[j] && (!least || row.score[j] < row.score[*least])) least = j;
  return least;
}

template <class T>
void refine(const Row<T>& row, const Sparsity& sparsity, const Settings& s, std::span<std::uint8_t> drop) {
  double err = 0;
  for (std::size_t j = 0; j < drop.size(); ++j) err += drop[j] ? double(row.D[j]) : 0.;
  if (std::abs(err) <= s.threshold) return;
  const bool positive = err > 0;
  const auto* group = std::get_if<KeepOf>(&sparsity);
  // Of equal keys the published code, which walks one ascending list from both ends, takes the last positive one first.
  BySign grow = ranked(row, drop, true, [&](std::size_t a, std::size_t b) {
    if (row.key[a] == row.key[b]) return row.D[a] > 0 && a > b;
    return std::abs(row.key[a]) > std::abs(row.key[b]);
  });
  BySign prune;
  if (!group) prune = ranked(row, drop, false, [&](std::size_t a, std::size_t b) { return row.norm[a] < row.norm[b]; });
  std::vector<std::uint8_t> still;  // n:m: kept from the start
  for (const std::uint8_t d : drop) still.push_back(!d);
  for (std::int64_t cycle = 0; cycle < s.cycles && std::abs(err) > s.threshold; ++cycle) {
    const auto g = grow[err > 0].take();
    if (!g) return;
    auto q = group ? least_of_group(row, still, *g, std::size_t(group->of)) : prune[err <= 0].take();
    if (!q && !group && s.overrun) q = prune[err > 0].take_last();
    if (!q && !group) return;
    if (!q) continue;  // all of this group have moved
    const double after = err + double(row.D[*q]) - double(row.D[*g]);
    if (s.same_sign && (positive ? after <= 0 : after >= 0)) return;
    still[*q] = 0;
    drop[*g] = 0;
    drop[*q] = 1;
    err = after;
  }
}

class Dsnot final : public LayerMethod {
 public:
  explicit Dsnot(const Settings& s) : settings_(s) {}
  StatsRequest needs() const override {
    return {.column_sq = true, .gram = settings_.start == Start::sparsegpt, .mean = true, .variance = true};
  }
  Pruning pruning() const override { return Pruning::required; }

  LayerResult compress(const LayerProblem& p) const override {
    const std::int64_t m = p.weight.shape()[0], n = p.weight.shape()[1];
    check_sparsity(p.sparsity, n, p.name);
    require(p.stats && p.stats->column_sq && p.stats->mean && p.stats->variance && p.stats->mean.numel() == n,
            ErrorCode::unsupported, p.name, "needs the norms, means and variances of its inputs");
    const bool refined = !settings_.attention_only || p.name.find("self_attn") != p.name.npos;
    std::vector<std::uint8_t> drop(std::size_t(m * n));
    visit_float(p.weight.dtype(), p.name, [&]<class T>() {
      const Columns<T> c = columns<T>(p);
      const auto W = p.weight.data<T>();
      parallel_for(m, kRows, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const auto at = std::size_t(i * n), width = std::size_t(n);
          const Row<T> row = row_of(W.subspan(at, width), c);
          const auto mine = std::span(drop).subspan(at, width);
          drop_in_row(std::span<const T>(row.score), p.sparsity, mine);
          if (refined) refine(row, p.sparsity, settings_, mine);
        }
      });
    });
    return prune(p, drop);
  }

 private:
  template <class T>
  struct Columns {
    std::vector<T> s, spread, norm;  // s_j, v_j^power, ‖x_j‖
    std::vector<T> pivot;  // SparseGPT: R_jj = 1 / U_jj, 0 for a dead column
  };

  template <class T>
  Columns<T> columns(const LayerProblem& p) const {
    const auto sum = p.stats->mean.template data<T>(), v = p.stats->variance.template data<T>(),
               sq = p.stats->column_sq.template data<T>();
    Columns<T> c;
    for (std::size_t j = 0; j < sum.size(); ++j) {
      require(std::isfinite(sum[j]) && std::isfinite(v[j]) && std::isfinite(sq[j]), ErrorCode::numeric, p.name,
              "the calibration inputs of column ", j, " are not finite");
      c.s.push_back(sum[j]);
      c.spread.push_back(std::pow(v[j], T(settings_.power)));
      c.norm.push_back(std::sqrt(sq[j]));
    }
    if (settings_.start != Start::sparsegpt) return c;
    require(bool(p.stats->gram), ErrorCode::unsupported, p.name, "needs the Gram matrix of its inputs");
    FactorMemo own;
    const auto factor = (p.memo ? *p.memo : own).get(p.stats->gram, {.damp = settings_.damp}, p.name);
    const auto R = factor->root.template data<T>();
    for (std::size_t j = 0; j < sum.size(); ++j) c.pivot.push_back(R[j * sum.size() + j]);
    for (const std::int64_t j : factor->dead) c.pivot[std::size_t(j)] = 0;
    return c;
  }

  // The score of SparseGPT, w² / U_jj², is of a matrix that no update has touched.
  template <class T>
  Row<T> row_of(std::span<const T> w, const Columns<T>& c) const {
    Row<T> row;
    for (std::size_t j = 0; j < w.size(); ++j) {
      const T D = w[j] * c.s[j], wanda = std::abs(w[j]) * c.norm[j];
      row.D.push_back(D);
      row.key.push_back(D == 0 ? D : D / c.spread[j]);  // a constant input, v = 0, comes before all others
      row.norm.push_back(wanda);
      switch (settings_.start) {
        case Start::wanda: row.score.push_back(wanda); break;
        case Start::magnitude: row.score.push_back(std::abs(w[j])); break;
        case Start::sparsegpt: row.score.push_back(w[j] * w[j] * c.pivot[j] * c.pivot[j]);
      }
    }
    return row;
  }

  Settings settings_;
};

}  // namespace

// initial (wanda, magnitude or sparsegpt), cycles, threshold, power, same_sign, attention_only, overrun, damp.
std::unique_ptr<LayerMethod> make_dsnot(MethodOptions& o) {
  Settings s;
  const std::string start = o.word("initial", "wanda");
  require(start == "wanda" || start == "magnitude" || start == "sparsegpt", ErrorCode::usage, "dsnot",
          "initial=", start, " is none of wanda, magnitude, sparsegpt");
  s.start = start == "wanda" ? Start::wanda : start == "magnitude" ? Start::magnitude : Start::sparsegpt;
  s.cycles = o.integer("cycles", s.cycles);
  s.threshold = o.number("threshold", s.threshold);
  s.power = o.number("power", s.power);
  s.damp = o.number("damp", s.damp);
  if (o.has("same_sign")) s.same_sign = o.flag("same_sign");
  s.attention_only = o.flag("attention_only");
  s.overrun = o.flag("overrun");
  require(s.cycles >= 0 && s.threshold >= 0 && s.power >= 0 && std::isfinite(s.power) && s.damp >= 0, ErrorCode::usage,
          "dsnot", "cycles, threshold, power and damp cannot be negative");
  return std::make_unique<Dsnot>(s);
}

}  // namespace sinter
