#include "train/compress/obs.h"

#include <algorithm>
#include <cmath>

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "ops/cached_product.h"
#include "ops/linalg.h"
#include "train/compress/obs_lanes.h"

namespace sinter {
namespace {

using lanes::kLanes;
using lanes::Lanes;
constexpr std::int64_t kHalf = 32;  // rows whose changes are one stream of memory: as many as a product takes in a go
constexpr std::int64_t kInner = 32;  // columns between two updates of the rest of a span
constexpr std::int64_t kDeep = 512;  // columns whose effect on a tile is added at once: they stay in cache
constexpr std::int64_t kPanelRows = 256;
constexpr std::int64_t kLongestStep = 128;  // as the longest n:m group

// Columns begin .. end that are brought up to date and fixed together. The weights of begin .. reach are known as the
// columns before `begin` left them: a grid of a group that begins in the span may need those behind it.
struct Span {
  std::int64_t begin, end, reach;
  Tensor inverse;  // R_bb⁻¹ of begin .. reach, found in f64
  std::int64_t width() const { return reach - begin; }
};

template <class T>
class Sweep {
 public:
  Sweep(Tensor w, const Tensor& root, const ObsOptions& o, std::string_view where);
  ObsResult run();

 private:
  std::int64_t rows_of(std::int64_t tile) const { return std::min(kLanes, m_ - tile * kLanes); }
  std::int64_t groups() const { return grid_.zero.shape()[1]; }
  std::int64_t group_of(std::int64_t j) const {
    return o_.group_of.empty() ? j / grid_.group : o_.group_of[std::size_t(j)];
  }
  // Groups whose grid is found in the sweep begin with a step, so that all their weights are up to date.
  bool aligned() const { return in_sweep_ && !o_.stale_groups; }
  std::int64_t next_group(std::int64_t j) const { return (j / grid_.group + 1) * grid_.group; }
  bool pruned() const { return o_.drop || pattern_ || fraction_; }
  T root(std::int64_t j) const { return R_[j * n_ + j]; }
  // By tile of rows, side by side: W − Ŵ of the columns done, kHalf rows at a time, and the weights of the span.
  T* change(std::int64_t tile, std::int64_t half) const { return change_data_ + (tile * kLanes + half * kHalf) * n_; }
  T* live(std::int64_t tile) const { return live_data_ + tile * widest_ * kLanes; }

  void plan_grid();
  void plan_spans();
  void build_panel(const Span&);
  void update(const Span&, std::int64_t tile);
  void choose(std::int64_t begin, std::int64_t end, const Span&);

  struct Step;
  void solve(const Span&, std::int64_t tile, std::int64_t begin, std::int64_t end);
  void column(Step&, std::int64_t j);
  void choose_group(Step&, std::int64_t j) const;
  void find_group(const Step&, std::int64_t j);
  void load_levels(Step&, std::int64_t group) const;

  const ObsOptions& o_;
  std::string_view where_;
  Tensor w_, root_, change_, live_, panel_;  // panel_: R_<b,b R_bb⁻¹ of the span
  std::int64_t m_, n_, tiles_, block_ = 0, step_ = 0, widest_ = 0;
  T* W_;
  const T* R_;
  T *change_data_ = nullptr, *live_data_ = nullptr;
  std::optional<KeepOf> pattern_;
  std::optional<Fraction> fraction_;
  std::vector<Span> spans_;
  std::vector<T> score_;
  std::vector<std::uint8_t> dropped_;  // of the block, by tile
  bool in_sweep_ = false;
  T top_ = 0;
  Grid grid_;
  T* scale_ = nullptr;
  std::uint8_t* zero_ = nullptr;
  Tensor codes_;
  std::uint8_t* codes_data_ = nullptr;
  std::vector<double> loss_;
};

// What a tile needs while its columns begin .. end are fixed.
template <class T>
struct Sweep<T>::Step {
  std::int64_t tile, begin, from;  // from: the first column of the step
  const Span& span;
  T* w;  // of the span
  std::uint8_t* dropped;  // of the block
  std::vector<std::uint8_t> codes{};  // of the block
  std::vector<T> before{};  // the weights as the block found them, for stale groups
  std::array<T, std::size_t(kLongestStep* kLanes)> minus_e{};  // of the step
  Lanes<T> scale{}, zero{}, loss{};
};

template <class T>
Sweep<T>::Sweep(Tensor w, const Tensor& root, const ObsOptions& o, std::string_view where)
    : o_(o),
      where_(where),
      w_(std::move(w)),
      root_(root),
      m_(w_.shape()[0]),
      n_(w_.shape()[1]),
      tiles_((m_ + kLanes - 1) / kLanes) {
  W_ = w_.mutable_data<T>().data();
  R_ = root_.data<T>().data();
  loss_.assign(std::size_t(m_), 0);
  if (const auto* p = std::get_if<KeepOf>(&o_.sparsity); p && !o_.drop) pattern_ = *p;
  if (const auto* f = std::get_if<Fraction>(&o_.sparsity); f && !o_.drop) fraction_ = *f;
  if (o_.grid) plan_grid();
  plan_spans();
  change_ = Tensor::empty({tiles_, n_, kLanes}, dtype_of<T>);
  change_data_ = change_.mutable_data<T>().data();
  live_ = Tensor::empty({tiles_, widest_, kLanes}, dtype_of<T>);
  live_data_ = live_.mutable_data<T>().data();
  panel_ = Tensor::empty({n_, widest_}, dtype_of<T>);
  if (pruned()) dropped_.resize(std::size_t(tiles_ * widest_ * kLanes));
}

template <class T>
void Sweep<T>::plan_grid() {
  top_ = T((1 << o_.grid->bits) - 1);
  codes_ = Tensor::empty({m_, n_}, DType::u8);
  codes_data_ = codes_.mutable_data<std::uint8_t>().data();
  if (o_.known) grid_ = *o_.known;
  else if (group_width(*o_.grid, n_) == n_) grid_ = find_grid(w_, *o_.grid, where_);
  else {  // written by tiles of rows, each its own
    grid_ = empty_grid(m_, n_, *o_.grid, w_.dtype());
    in_sweep_ = true;
    scale_ = grid_.scale.template mutable_data<T>().data();
    zero_ = grid_.zero.template mutable_data<std::uint8_t>().data();
  }
}

// An n:m group lies within one step, and a step within one block; a span is a block, or a group of several.
template <class T>
void Sweep<T>::plan_spans() {
  const std::int64_t of = pattern_ ? pattern_->of : 1;
  std::int64_t unit = of;
  if (aligned()) {
    require(grid_.group % of == 0, ErrorCode::usage, where_, "grid groups of ", grid_.group,
            " do not divide into groups of ", of);
    if (grid_.group < o_.block) unit = grid_.group;
  }
  block_ = std::max(unit, o_.block / unit * unit);
  step_ = std::max(of, kInner / of * of);
  for (std::int64_t begin = 0, end; begin < n_; begin = end) {
    end = std::min(n_, aligned() && grid_.group > block_ ? next_group(begin) : begin + block_);
    std::int64_t reach = end;
    if (in_sweep_)
      if (const std::int64_t last = (end - 1) / grid_.group * grid_.group; last >= begin)
        reach = std::min(n_, std::max(end, last + grid_.group));
    spans_.push_back({begin, end, reach, {}});
    widest_ = std::max(widest_, reach - begin);
  }
  parallel_for(std::int64_t(spans_.size()), 1, [&](std::int64_t k, std::int64_t) {
    Span& s = spans_[std::size_t(k)];
    Tensor corner = Tensor::zeros({s.width(), s.width()}, DType::f64);
    double* const to = corner.mutable_data<double>().data();
    for (std::int64_t i = 0; i < s.width(); ++i)
      std::copy_n(R_ + (s.begin + i) * n_ + s.begin + i, s.width() - i, to + i * s.width() + i);
    s.inverse = cast(inverse_upper(std::move(corner)), dtype_of<T>);
  });
}

// R_<b,b R_bb⁻¹, by groups of columns of the inverse, which is zero below its diagonal.
template <class T>
void Sweep<T>::build_panel(const Span& s) {
  const std::int64_t width = s.width();
  const T* const U = s.inverse.data<T>().data();
  T* const P = panel_.mutable_data<T>().data();
  parallel_for(s.begin, kPanelRows, [&](std::int64_t row, std::int64_t stop) {
    for (std::int64_t c = 0; c < width; c += kInner) {
      const std::int64_t end = std::min(width, c + kInner);
      cached_product(stop - row, end - c, end, CachedFactor<T>{R_ + row * n_ + s.begin, n_, 1}, U + c, width,
                     P + row * width + c, width, false);
    }
  });
}

// A tile's weights of the span, as the columns before it left them.
template <class T>
void Sweep<T>::update(const Span& s, std::int64_t tile) {
  const std::int64_t rows = rows_of(tile), width = s.width();
  T* const w = live(tile);
  lanes::gather(W_ + tile * kLanes * n_ + s.begin, n_, rows, width, w);
  for (std::int64_t half = 0; half < kLanes / kHalf; ++half) {
    T* const to = change(tile, half);
    for (std::int64_t j = s.begin; j < s.end; ++j)
      std::copy_n(w + (j - s.begin) * kLanes + half * kHalf, kHalf, to + j * kHalf);
  }
  const T* const P = View(panel_).data<T>();
  for (std::int64_t k = 0; k < s.begin; k += kDeep)
    for (std::int64_t half = 0; half < kLanes / kHalf; ++half)
      cached_product(width, kHalf, std::min(kDeep, s.begin - k), CachedFactor<T>{P + k * width, 1, width},
                     change(tile, half) + k * kHalf, kHalf, w + half * kHalf, kLanes, true);
  if (o_.drop)
    lanes::gather(o_.drop.data<std::uint8_t>().data() + tile * kLanes * n_ + s.begin, n_, rows, s.end - s.begin,
                  &dropped_[std::size_t(tile * (s.end - s.begin) * kLanes)]);
}

// The mask of a block of columns, at the weights as the blocks before it left them.
template <class T>
void Sweep<T>::choose(std::int64_t begin, std::int64_t end, const Span& s) {
  const std::int64_t width = end - begin;
  score_.resize(std::size_t(tiles_ * width * kLanes));
  parallel_for(tiles_, 1, [&](std::int64_t tile, std::int64_t) {
    if (begin == s.begin) update(s, tile);
    for (std::int64_t c = 0; c < width; ++c)
      lanes::score(live(tile) + (begin - s.begin + c) * kLanes, root(begin + c), rows_of(tile),
                   &score_[std::size_t((tile * width + c) * kLanes)]);
  });
  const std::int64_t zeros = std::min(m_ * width, zeros_among(*fraction_, m_ * width) + o_.one_more);
  drop_lowest(std::span<const T>(score_), zeros, std::span(dropped_).first(score_.size()));
}

template <class T>
void Sweep<T>::choose_group(Step& t, std::int64_t j) const {
  std::vector<Lanes<T>> score(std::size_t(pattern_->of));
  for (std::int64_t k = 0; k < pattern_->of; ++k)
    lanes::score(t.w + (j + k - t.span.begin) * kLanes, root(j + k), kLanes, score[std::size_t(k)].data());
  lanes::drop_in_group(score.data(), pattern_->keep, pattern_->of, t.dropped + (j - t.begin) * kLanes);
}

template <class T>
void Sweep<T>::load_levels(Step& t, std::int64_t group) const {
  const auto scale = grid_.scale.data<T>();
  const auto zero = grid_.zero.data<std::uint8_t>();
  for (std::int64_t r = 0; r < kLanes; ++r) {
    const auto at = std::size_t(std::min(t.tile * kLanes + r, m_ - 1) * groups() + group);
    t.scale[std::size_t(r)] = scale[at];
    t.zero[std::size_t(r)] = T(zero[at]);
  }
}

// The grids of the group that begins at column j.
template <class T>
void Sweep<T>::find_group(const Step& t, std::int64_t j) {
  const std::int64_t last = std::min(n_, j + grid_.group), group = j / grid_.group;
  const T* const w = (o_.stale_groups ? t.before.data() : t.w) - t.span.begin * kLanes;
  std::vector<T> values(std::size_t(last - j));
  for (std::int64_t r = 0; r < rows_of(t.tile); ++r) {
    for (std::int64_t k = j; k < last; ++k) values[std::size_t(k - j)] = w[k * kLanes + r];
    const Levels<T> found = find_levels(std::span<const T>(values), *o_.grid, where_);
    const std::int64_t at = (t.tile * kLanes + r) * groups() + group;
    scale_[at] = found.scale;
    zero_[at] = std::uint8_t(found.zero);
  }
}

// Column j: its mask, grid, results and errors.
template <class T>
void Sweep<T>::column(Step& t, std::int64_t j) {
  T* const w = t.w + (j - t.span.begin) * kLanes;
  if (pattern_ && j % pattern_->of == 0) choose_group(t, j);
  Lanes<T> q;
  std::copy_n(w, kLanes, q.begin());
  if (pruned()) lanes::drop(t.dropped + (j - t.begin) * kLanes, q.data());
  if (o_.grid) {
    if (in_sweep_ && j % grid_.group == 0) find_group(t, j);
    if (j == t.begin || group_of(j) != group_of(j - 1)) load_levels(t, group_of(j));
    lanes::quantise(q.data(), t.scale, t.zero, top_, &t.codes[std::size_t((j - t.begin) * kLanes)]);
  }
  lanes::settle(w, q.data(), root(j), t.minus_e.data() + (j - t.from) * kLanes, t.loss.data());
}

// Columns begin .. end of a tile, in steps: column by column within a step, then its effect on the rest of the span.
template <class T>
void Sweep<T>::solve(const Span& s, std::int64_t tile, std::int64_t begin, std::int64_t end) {
  std::uint8_t* const dropped = pruned() ? &dropped_[std::size_t(tile * (end - begin) * kLanes)] : nullptr;
  Step t{.tile = tile, .begin = begin, .from = begin, .span = s, .w = live(tile), .dropped = dropped};
  if (o_.grid) t.codes.resize(std::size_t((end - begin) * kLanes));
  if (o_.stale_groups) t.before.assign(t.w, t.w + s.width() * kLanes);
  const T* const U = s.inverse.data<T>().data();
  const auto u = [&](std::int64_t i, std::int64_t j) { return U + (i - s.begin) * s.width() + j - s.begin; };
  const auto w = [&](std::int64_t j) { return t.w + (j - s.begin) * kLanes; };
  for (std::int64_t to; t.from < end; t.from = to) {
    to = std::min(end, t.from + step_);
    if (aligned()) to = std::min(to, next_group(t.from));
    const T* const e = t.minus_e.data();
    for (std::int64_t j = t.from; j < to; ++j) {
      column(t, j);
      if (j + 1 < to) lanes::add_outer(u(j, j + 1), to - j - 1, e + (j - t.from) * kLanes, w(j + 1));
    }
    if (to < s.end)
      cached_product(s.end - to, kLanes, to - t.from, CachedFactor<T>{u(t.from, to), 1, s.width()}, e, kLanes, w(to),
                     kLanes, true);
  }
  const std::int64_t corner = tile * kLanes * n_ + begin;
  lanes::scatter(w(begin), rows_of(tile), end - begin, W_ + corner, n_);
  if (o_.grid) lanes::scatter(t.codes.data(), rows_of(tile), end - begin, codes_data_ + corner, n_);
  for (std::int64_t half = 0; half < kLanes / kHalf; ++half) {
    T* const done = change(tile, half);  // W until now
    for (std::int64_t j = begin; j < end; ++j)
      for (std::int64_t r = 0; r < kHalf; ++r) done[j * kHalf + r] -= w(j)[half * kHalf + r];
  }
  for (std::int64_t r = 0; r < rows_of(tile); ++r)
    loss_[std::size_t(tile * kLanes + r)] += double(t.loss[std::size_t(r)]) / 2;
}

template <class T>
ObsResult Sweep<T>::run() {
  for (const Span& s : spans_) {
    build_panel(s);
    if (!fraction_) {
      parallel_for(tiles_, 1, [&](std::int64_t tile, std::int64_t) {
        update(s, tile);
        solve(s, tile, s.begin, s.end);
      });
      continue;
    }
    for (std::int64_t begin = s.begin, end; begin < s.end; begin = end) {
      end = std::min(s.end, begin + block_);
      choose(begin, end, s);
      parallel_for(tiles_, 1, [&](std::int64_t tile, std::int64_t) { solve(s, tile, begin, end); });
    }
  }
  double loss = 0;
  for (const double l : loss_) loss += l;
  require(std::isfinite(loss), ErrorCode::numeric, where_, "the solution is not finite");
  return {std::move(w_), std::move(codes_), std::move(grid_), loss};
}

}  // namespace

ObsResult solve_obs(Tensor w, const Tensor& root, const ObsOptions& o, std::string_view where) {
  require(w && w.shape().rank() == 2 && root.shape() == Shape{w.shape()[1], w.shape()[1]} && root.dtype() == w.dtype(),
          ErrorCode::shape, where, "a factor ", root.shape(), " for a weight ", w.shape());
  require(o.block > 0, ErrorCode::usage, where, "block ", o.block, " is not positive");
  require(!o.drop || (o.drop.shape() == w.shape() && o.drop.dtype() == DType::u8), ErrorCode::shape, where, "a mask ",
          o.drop.shape(), " for a weight ", w.shape());
  check_sparsity(o.sparsity, w.shape()[1], where);
  if (o.grid) check_rule(*o.grid, where);
  if (!w.sole_owner()) w = w.clone();
  return visit_float(w.dtype(), where, [&]<class T>() { return Sweep<T>(std::move(w), root, o, where).run(); });
}

}  // namespace sinter
