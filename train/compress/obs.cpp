#include "train/compress/obs.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/parallel.h"
#include "ops/gemm.h"

namespace sinter {
namespace {

constexpr std::int64_t kLanes = 64;  // rows of a tile, side by side in memory
constexpr std::int64_t kInner = 32;  // columns between two updates of the rest of a tile

template <class T>
using Lanes = std::array<T, kLanes>;

// One block of columns for kLanes rows, transposed: entry [c * kLanes + r] is column c of row r. Rows beyond the matrix
// are zero.
template <class T>
struct Tile {
  Tile(std::int64_t columns, bool pruned, bool quantised)
      : weights(Tensor::zeros({columns, kLanes}, dtype_of<T>)),
        errors(Tensor::zeros({columns, kLanes}, dtype_of<T>)),
        w(weights.mutable_data<T>().data()),
        e(errors.mutable_data<T>().data()),
        drop(std::size_t(pruned ? columns * kLanes : 0)),
        codes(std::size_t(quantised ? columns * kLanes : 0)) {}
  Tensor weights, errors;  // the weights, replaced by their results; −e
  T *w, *e;
  std::vector<std::uint8_t> drop, codes;
  Lanes<T> scale, zero, loss{};
};

template <class T>
void quantise_lanes(const T* __restrict w, Tile<T>& t, T top, T* __restrict q, std::uint8_t* __restrict codes) {
  Lanes<T> code;
  for (std::int64_t r = 0; r < kLanes; ++r) code[r] = code_of(w[r], t.scale[r], t.zero[r], top);
  for (std::int64_t r = 0; r < kLanes; ++r) q[r] = t.scale[r] * (code[r] - t.zero[r]);
  for (std::int64_t r = 0; r < kLanes; ++r) codes[r] = std::uint8_t(int(code[r]));
}

template <class T>
void drop_lanes(const std::uint8_t* __restrict drop, T* __restrict q) {
  for (std::int64_t r = 0; r < kLanes; ++r) q[r] = drop[r] ? T(0) : q[r];
}

// e = (w − q) / d; w becomes q.
template <class T>
void settle_lanes(T* __restrict w, const T* __restrict q, T d, T* __restrict minus_e, T* __restrict loss) {
  for (std::int64_t r = 0; r < kLanes; ++r) {
    const T e = (w[r] - q[r]) / d;
    minus_e[r] = -e;
    loss[r] += e * e;
    w[r] = q[r];
  }
}

template <class T>
void add_scaled(T* __restrict w, const T* __restrict minus_e, T u) {
  for (std::int64_t r = 0; r < kLanes; ++r) w[r] += minus_e[r] * u;
}

// before += 1 in each lane where a stands before b
template <class T>
void count_before(const T* __restrict a, const T* __restrict b, bool first_of_equals, std::int32_t* __restrict before) {
  if (first_of_equals)
    for (std::int64_t r = 0; r < kLanes; ++r) before[r] += a[r] <= b[r];
  else
    for (std::int64_t r = 0; r < kLanes; ++r) before[r] += a[r] < b[r];
}

template <class T>
class Sweep {
 public:
  Sweep(Tensor w, const Tensor& upper, const ObsOptions& o, std::string_view where)
      : o_(o), where_(where), w_(std::move(w)), upper_(upper), m_(w_.shape()[0]), n_(w_.shape()[1]) {
    W_ = w_.mutable_data<T>().data();
    U_ = upper_.data<T>().data();
    loss_.assign(std::size_t(m_), 0);
    if (o_.grid) {
      top_ = T((1 << o_.grid->bits) - 1);
      grid_ = o_.known ? *o_.known : empty_grid(m_, n_, *o_.grid, w_.dtype());
      codes_ = Tensor::empty({m_, n_}, DType::u8);
      in_sweep_ = !o_.known;
      if (in_sweep_) {  // written by tiles of rows, each its own
        scale_ = grid_.scale.template mutable_data<T>().data();
        zero_ = grid_.zero.template mutable_data<std::uint8_t>().data();
      }
      codes_data_ = codes_.template mutable_data<std::uint8_t>().data();
    }
    if (const auto* p = std::get_if<KeepOf>(&o_.sparsity); p && !o_.drop) pattern_ = *p;
    if (const auto* f = std::get_if<Fraction>(&o_.sparsity); f && !o_.drop) fraction_ = *f;
    plan_blocks();
  }
  ObsResult run();

 private:
  std::int64_t groups() const { return grid_.zero.shape()[1]; }
  std::int64_t group_of(std::int64_t j) const {
    return o_.group_of.empty() ? j / grid_.group : o_.group_of[std::size_t(j)];
  }
  // Groups whose grid is found in the sweep begin with a step, so that all their weights are up to date.
  bool aligned() const { return in_sweep_ && !o_.stale_groups; }
  std::int64_t next_group(std::int64_t j) const { return (j / grid_.group + 1) * grid_.group; }
  bool pruned() const { return o_.drop || pattern_ || fraction_; }

  void plan_blocks();
  void choose(std::int64_t begin, std::int64_t end);
  void solve_tile(std::int64_t row, std::int64_t begin, std::int64_t end);
  void load(Tile<T>&, std::int64_t row, std::int64_t begin, std::int64_t end) const;
  void store(const Tile<T>&, std::int64_t row, std::int64_t begin, std::int64_t end);
  void column(Tile<T>&, std::int64_t row, std::int64_t begin, std::int64_t end, std::int64_t j);
  void choose_group(Tile<T>&, std::int64_t begin, std::int64_t j) const;
  void find_group(Tile<T>&, std::int64_t row, std::int64_t begin, std::int64_t end, std::int64_t j);
  void load_levels(Tile<T>&, std::int64_t row, std::int64_t group) const;

  const ObsOptions& o_;
  std::string_view where_;
  Tensor w_, upper_, errors_;  // errors_: −e of the block [m, block]
  std::int64_t m_, n_, block_ = 0, step_ = 0;
  T* W_;
  const T* U_;
  std::optional<KeepOf> pattern_;
  std::optional<Fraction> fraction_;
  std::vector<T> score_;
  std::vector<std::uint8_t> chosen_;  // of the block, [m, end - begin]
  bool in_sweep_ = false;
  T top_ = 0;
  Grid grid_;
  T* scale_ = nullptr;
  std::uint8_t* zero_ = nullptr;
  Tensor codes_;
  std::uint8_t* codes_data_ = nullptr;
  std::vector<double> loss_;
};

// An n:m group lies within one step, and a step within one block.
template <class T>
void Sweep<T>::plan_blocks() {
  const std::int64_t of = pattern_ ? pattern_->of : 1;
  if (aligned())
    require(grid_.group % of == 0 || grid_.group == n_, ErrorCode::usage, where_, "grid groups of ", grid_.group,
            " do not divide into groups of ", of);
  std::int64_t unit = of;
  if (aligned() && grid_.group < o_.block) unit = grid_.group;
  block_ = std::max(unit, o_.block / unit * unit);
  step_ = std::max(of, kInner / of * of);
}

// The mask of a block of columns, at the weights as the blocks before it left them.
template <class T>
void Sweep<T>::choose(std::int64_t begin, std::int64_t end) {
  const std::int64_t width = end - begin;
  score_.resize(std::size_t(m_ * width));
  chosen_.resize(score_.size());
  parallel_for(m_, kLanes, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      for (std::int64_t j = begin; j < end; ++j) {
        const T w = W_[i * n_ + j], u = U_[j * n_ + j];
        score_[std::size_t(i * width + j - begin)] = w * w / (u * u);
      }
  });
  const std::int64_t zeros = std::min(m_ * width, zeros_among(*fraction_, m_ * width) + o_.one_more);
  drop_lowest(std::span<const T>(score_), zeros, std::span(chosen_));
}

template <class T>
void Sweep<T>::load(Tile<T>& t, std::int64_t row, std::int64_t begin, std::int64_t end) const {
  const std::int64_t rows = std::min(kLanes, m_ - row), width = end - begin;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < width; ++c) t.w[c * kLanes + r] = W_[(row + r) * n_ + begin + c];
  if (!o_.drop && !fraction_) return;
  const std::uint8_t* const mask = o_.drop ? o_.drop.data<std::uint8_t>().data() + begin : chosen_.data();
  const std::int64_t stride = o_.drop ? n_ : width;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < width; ++c) t.drop[std::size_t(c * kLanes + r)] = mask[(row + r) * stride + c];
}

template <class T>
void Sweep<T>::store(const Tile<T>& t, std::int64_t row, std::int64_t begin, std::int64_t end) {
  const std::int64_t rows = std::min(kLanes, m_ - row), width = end - begin;
  T* const errors = View(errors_).data<T>();
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < width; ++c) {
      W_[(row + r) * n_ + begin + c] = t.w[c * kLanes + r];
      errors[(row + r) * block_ + c] = t.e[c * kLanes + r];
    }
    if (codes_data_)
      for (std::int64_t c = 0; c < width; ++c)
        codes_data_[(row + r) * n_ + begin + c] = t.codes[std::size_t(c * kLanes + r)];
    loss_[std::size_t(row + r)] += double(t.loss[std::size_t(r)]) / 2;
  }
}

// Of each group the of − keep lowest w² / U_jj² go: those that fewer than of − keep others stand before.
template <class T>
void Sweep<T>::choose_group(Tile<T>& t, std::int64_t begin, std::int64_t j) const {
  const std::int64_t of = pattern_->of, c0 = j - begin;
  std::vector<Lanes<T>> score(static_cast<std::size_t>(of));
  for (std::int64_t k = 0; k < of; ++k) {
    const T u = U_[(j + k) * n_ + j + k], uu = u * u;
    const T* const w = t.w + (c0 + k) * kLanes;
    for (std::int64_t r = 0; r < kLanes; ++r) score[std::size_t(k)][std::size_t(r)] = w[r] * w[r] / uu;
  }
  for (std::int64_t k = 0; k < of; ++k) {
    std::array<std::int32_t, kLanes> before{};
    for (std::int64_t other = 0; other < of; ++other)
      if (other != k)
        count_before(score[std::size_t(other)].data(), score[std::size_t(k)].data(), other < k, before.data());
    for (std::int64_t r = 0; r < kLanes; ++r)
      t.drop[std::size_t((c0 + k) * kLanes + r)] = before[std::size_t(r)] < of - pattern_->keep;
  }
}

template <class T>
void Sweep<T>::load_levels(Tile<T>& t, std::int64_t row, std::int64_t group) const {
  const auto scale = grid_.scale.data<T>();
  const auto zero = grid_.zero.data<std::uint8_t>();
  for (std::int64_t r = 0; r < kLanes; ++r) {
    const auto at = std::size_t(std::min(row + r, m_ - 1) * groups() + group);
    t.scale[std::size_t(r)] = scale[at];
    t.zero[std::size_t(r)] = T(zero[at]);
  }
}

// The grids of the group that begins at column j: what the tile holds of it is up to date, and so is what lies behind
// the block when the group begins with it.
template <class T>
void Sweep<T>::find_group(Tile<T>& t, std::int64_t row, std::int64_t begin, std::int64_t end, std::int64_t j) {
  const std::int64_t last = std::min(n_, j + grid_.group), group = j / grid_.group;
  std::vector<T> values;
  for (std::int64_t r = 0; r < std::min(kLanes, m_ - row); ++r) {
    const T* const matrix = W_ + (row + r) * n_;
    values.assign(matrix + j, matrix + last);
    if (!o_.stale_groups)
      for (std::int64_t k = j; k < std::min(last, end); ++k) values[std::size_t(k - j)] = t.w[(k - begin) * kLanes + r];
    const Levels<T> found = find_levels(std::span<const T>(values), *o_.grid, where_);
    scale_[(row + r) * groups() + group] = found.scale;
    zero_[(row + r) * groups() + group] = std::uint8_t(found.zero);
  }
}

// Column j of the block that begins at `begin`: its mask, grid, results and errors.
template <class T>
void Sweep<T>::column(Tile<T>& t, std::int64_t row, std::int64_t begin, std::int64_t end, std::int64_t j) {
  const std::int64_t c = j - begin;
  T* const w = t.w + c * kLanes;
  if (pattern_ && j % pattern_->of == 0) choose_group(t, begin, j);
  Lanes<T> q;
  std::copy_n(w, kLanes, q.begin());
  const std::uint8_t* const drop = pruned() ? &t.drop[std::size_t(c * kLanes)] : nullptr;
  if (drop) drop_lanes(drop, q.data());
  if (o_.grid) {
    if (in_sweep_ && j % grid_.group == 0) find_group(t, row, begin, end, j);
    if (j == begin || group_of(j) != group_of(j - 1)) load_levels(t, row, group_of(j));
    const Lanes<T> in = q;
    quantise_lanes(in.data(), t, top_, q.data(), &t.codes[std::size_t(c * kLanes)]);
  }
  settle_lanes(w, q.data(), U_[j * n_ + j], t.e + c * kLanes, t.loss.data());
}

template <class T>
void Sweep<T>::solve_tile(std::int64_t row, std::int64_t begin, std::int64_t end) {
  Tile<T> t(end - begin, pruned(), bool(o_.grid));
  load(t, row, begin, end);
  for (std::int64_t from = begin; from < end;) {
    std::int64_t to = std::min(end, from + step_);
    if (aligned()) to = std::min(to, next_group(from));
    for (std::int64_t j = from; j < to; ++j) {
      column(t, row, begin, end, j);
      for (std::int64_t k = j + 1; k < to; ++k)
        add_scaled(t.w + (k - begin) * kLanes, t.e + (j - begin) * kLanes, U_[j * n_ + k]);
    }
    if (to < end)
      gemm(ConstView(upper_).row_range(from, to).col_range(to, end), Trans::yes,
           ConstView(t.errors).row_range(from - begin, to - begin), Trans::no,
           View(t.weights).row_range(to - begin, end - begin), {.beta = 1});
    from = to;
  }
  store(t, row, begin, end);
}

template <class T>
ObsResult Sweep<T>::run() {
  errors_ = Tensor::empty({m_, block_}, w_.dtype());
  for (std::int64_t begin = 0; begin < n_;) {
    std::int64_t end = std::min(n_, begin + block_);
    if (aligned() && grid_.group > block_) end = std::min(end, next_group(begin));
    if (fraction_) choose(begin, end);
    parallel_for((m_ + kLanes - 1) / kLanes, 1,
                 [&](std::int64_t tile, std::int64_t) { solve_tile(tile * kLanes, begin, end); });
    if (end < n_)
      gemm(ConstView(errors_).col_range(0, end - begin), Trans::no,
           ConstView(upper_).row_range(begin, end).col_range(end, n_), Trans::no, View(w_).col_range(end, n_),
           {.beta = 1});
    begin = end;
  }
  double loss = 0;
  for (const double l : loss_) loss += l;
  require(std::isfinite(loss), ErrorCode::numeric, where_, "the solution is not finite");
  return {std::move(w_), std::move(codes_), std::move(grid_), loss};
}

}  // namespace

ObsResult solve_obs(Tensor w, const Tensor& upper, const ObsOptions& o, std::string_view where) {
  require(
      w && w.shape().rank() == 2 && upper.shape() == Shape{w.shape()[1], w.shape()[1]} && upper.dtype() == w.dtype(),
      ErrorCode::shape, where, "a factor ", upper.shape(), " for a weight ", w.shape());
  require(o.block > 0, ErrorCode::usage, where, "block ", o.block, " is not positive");
  require(!o.drop || (o.drop.shape() == w.shape() && o.drop.dtype() == DType::u8), ErrorCode::shape, where, "a mask ",
          o.drop.shape(), " for a weight ", w.shape());
  check_sparsity(o.sparsity, w.shape()[1], where);
  if (o.grid) check_rule(*o.grid, where);
  if (!w.sole_owner()) w = w.clone();
  return visit_float(w.dtype(), where, [&]<class T>() { return Sweep<T>(std::move(w), upper, o, where).run(); });
}

}  // namespace sinter
