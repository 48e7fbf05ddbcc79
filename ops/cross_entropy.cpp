#include "ops/cross_entropy.h"

#include <cmath>

#include "ops/cross_entropy_kernels.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/operands.h"
#include "ops/strip_product.h"

namespace sinter {
namespace {

constexpr std::string_view kWhere = "cross_entropy";
// Logits in memory at a time, rows x vocabulary: few enough for a nearby cache, and so many rows that reading W and dW
// once for all of them costs little. (Measured: 2 and 4 MB alike, less and more are slower.)
constexpr std::int64_t kLogitsAtOnce = 1 << 20, kFewestRows = 256, kMostRows = 1024;

std::int64_t rows_at_once(std::int64_t vocabulary) {  // all of a small vocabulary fits beside them
  const std::int64_t fitting = kLogitsAtOnce / std::max<std::int64_t>(vocabulary, 1);
  return fitting >= kFewestRows ? fitting : kMostRows;
}

// The products of the output projection W [V, d] by ranges of its rows, whatever it is.
class Head {
 public:
  Head(const HeadWeight& w, Compute c) : compute_(c) {
    if (const auto* frozen = std::get_if<FrozenWeightPtr>(&w)) frozen_ = *frozen;
    else dense_ = std::get<Var>(w).value();
  }
  std::int64_t size() const { return frozen_ ? frozen_->out_features() : dense_.shape()[0]; }
  std::int64_t width() const { return frozen_ ? frozen_->in_features() : dense_.shape()[1]; }
  const Tensor& dense() const { return dense_; }

  void apply(const ConstView& x, Rows r, const View& y) const {
    if (frozen_) frozen_->apply(x, r, y, {}, compute_);
    else if (compute_ == Compute::f32) gemm(x, Trans::no, rows(r), Trans::yes, y);
    else strip_product(DenseSource(dense_), x, r, y, {}, compute_);
  }
  void add_transposed(const ConstView& dy, Rows r, const View& dx) const {
    if (frozen_) frozen_->apply_transposed(dy, r, dx, 1, compute_);
    else if (compute_ == Compute::f32) gemm(dy, Trans::no, rows(r), Trans::no, dx, {.beta = 1});
    else strip_product_transposed(DenseSource(dense_), dy, r, dx, 1, compute_);
  }
  void add_gradient(const ConstView& dy, const ConstView& x, Rows r, Tensor& dw) const {
    const View to = View(dw).row_range(r.begin, r.end);
    if (compute_ == Compute::f32) gemm(dy, Trans::yes, x, Trans::no, to, {.beta = 1});
    else gemm(rounded_bf16(dy), Trans::yes, rounded_bf16(x), Trans::no, to, {.beta = 1});
  }
  Tensor gather(std::span<const std::int32_t> ids, DType dtype) const {
    return frozen_ ? frozen_->gather(ids, dtype) : embedding(Var(dense_), ids).value();
  }

 private:
  ConstView rows(Rows r) const { return ConstView(dense_).row_range(r.begin, r.end); }
  FrozenWeightPtr frozen_;
  Tensor dense_;
  Compute compute_;
};

Tensor on_device(std::span<const std::int32_t> v, Device d) {
  return Tensor::of(Shape{std::int64_t(v.size())}, v).to(d);
}

struct Wanted {
  bool h = false, w = false;
};

// One pass over the rows that count. With l = h·Wᵀ and p = softmax(l):
//   loss = Σ_t log Σ_v exp(l_tv) − l_t,target;   dh = p·W − W[target];   dW = (p − one-hot)ᵀ·h
// p·W is summed beside Σ exp(l), both rescaled as the maximum grows (as attention sums its values), so that dh costs one
// product beside the logits and is ready when the loss is: forming it again in the vjp would cost a third. dW needs the
// finished sums: its logits are computed twice unless the whole vocabulary is one chunk.
class Pass {
 public:
  Pass(const Tensor& h, const Head& head, std::span<const std::int32_t> targets, Wanted wanted)
      : head_(head), wanted_(wanted) {
    for (std::size_t t = 0; t < targets.size(); ++t) {
      if (targets[t] < 0) continue;
      ids_.push_back(std::int32_t(t));
      targets_.push_back(targets[t]);
    }
    const auto n = std::int64_t(ids_.size());
    x_ = n == h.shape()[0] ? h : embedding(Var(h), ids_).value();
    nll_.resize(ids_.size());
    if (wanted.h) dh = Tensor::zeros(h.shape(), h.dtype(), h.device());
    if (wanted.w) dw = Tensor::zeros(head.dense().shape(), h.dtype(), h.device());
    const std::int64_t rows = std::min(rows_at_once(head.size()), n);
    chunk_ = std::min(head.size(), kLogitsAtOnce / std::max<std::int64_t>(rows, 1));
    if (n > 0) buffer_ = Tensor::empty({rows, chunk_}, h.dtype(), h.device());
    for (std::int64_t b = 0; b < n; b += rows) some_rows(b, std::min(b + rows, n));
  }

  std::span<const std::int32_t> ids() const { return ids_; }  // the rows that count
  std::span<const double> nll() const { return nll_; }  // theirs
  Tensor dh, dw;  // where wanted

 private:
  View logits(Rows v, std::int64_t n) { return View(buffer_).row_range(0, n).col_range(0, v.size()); }
  template <class F>
  void each_chunk(F f) const {
    for (std::int64_t v = 0; v < head_.size(); v += chunk_) f(Rows{v, std::min(v + chunk_, head_.size())});
  }

  void some_rows(std::int64_t begin, std::int64_t end) {
    const Device device = x_.device();
    const std::int64_t n = end - begin;
    const Tensor x = x_.rows(begin, end);
    const auto targets = std::span(targets_).subspan(std::size_t(begin), std::size_t(n));
    const auto f64 = [&](double v) { return Tensor::full({n}, v, DType::f64).to(device); };
    LogitRows rows{on_device(targets, device), f64(-INFINITY), f64(0), f64(0)};
    Tensor acc = wanted_.h ? Tensor::zeros(x.shape(), x.dtype(), device) : Tensor();
    each_chunk([&](Rows v) {
      const View l = logits(v, n);
      head_.apply(x, v, l);
      absorb_logits_kernel(device, l, v.begin, rows, acc);
      if (acc) head_.add_transposed(l, v, acc);
    });
    if (acc) {
      const Tensor ids = on_device(std::span(ids_).subspan(std::size_t(begin), std::size_t(n)), device);
      hidden_gradient_kernel(device, acc, rows, head_.gather(targets, x.dtype()), ids, dh);
    }
    const Tensor top = rows.top.to({}), sum = rows.sum.to({}), hit = rows.hit.to({});
    for (std::size_t i = 0; i < std::size_t(n); ++i)
      nll_[std::size_t(begin) + i] = top.data<double>()[i] - hit.data<double>()[i] + std::log(sum.data<double>()[i]);
    if (wanted_.w) add_dw(x, rows);
  }

  void add_dw(const Tensor& x, const LogitRows& rows) {
    const bool kept = chunk_ == head_.size();  // the buffer still holds exp(l − top)
    each_chunk([&](Rows v) {
      const View l = logits(v, x.shape()[0]);
      if (!kept) head_.apply(x, v, l);
      logit_gradient_kernel(x.device(), l, v.begin, rows, kept);
      head_.add_gradient(l, x, v, dw);
    });
  }

  const Head& head_;
  const Wanted wanted_;
  std::vector<std::int32_t> ids_, targets_;  // of the rows that count
  std::vector<double> nll_;
  Tensor x_, buffer_;  // those rows of h; logits [rows, chunk]
  std::int64_t chunk_;
};

// The gradients exist already; a loss that is the end of the chain has dy = 1.
Tensor times(const Tensor& gradient, const Tensor& dy) {
  const Tensor one = dy.to({});
  const double s = visit_float(one.dtype(), kWhere, [&]<class T>() { return double(one.data<T>()[0]); });
  return s == 1 ? gradient : scale(Var(gradient), s).value();
}

struct FrozenHeadOp {
  static constexpr std::string_view name = "cross_entropy_frozen_head";
  static constexpr std::size_t arity = 1;  // h; the head is not an operand of the tape
  struct Saved {
    Tensor dh;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return {times(s.dh, dy)}; }
};

struct TrainableHeadOp {
  static constexpr std::string_view name = "cross_entropy";
  static constexpr std::size_t arity = 2;  // h, W
  struct Saved {
    Tensor dh, dw;  // each only where it is needed
  };
  static Cotangents<2> vjp(const Saved& s, const Tensor& dy, Needs<2> needs) {
    return {needs[0] ? times(s.dh, dy) : Tensor(), needs[1] ? times(s.dw, dy) : Tensor()};
  }
};

void check(const Tensor& h, const HeadWeight& w, const Head& head, std::span<const std::int32_t> targets, Compute c) {
  require_rank(kWhere, "h", h, 2);
  if (const auto* dense = std::get_if<Var>(&w)) require_alike(kWhere, h, dense->value());
  else require_alike(kWhere, h);
  require(c == Compute::f32 || h.dtype() == DType::f32, ErrorCode::dtype, kWhere, "bf16 arithmetic needs f32, got ",
          info(h.dtype()).name);
  require(h.shape()[1] == head.width(), ErrorCode::shape, kWhere, "h ", h.shape(), " for a head of width ",
          head.width());
  require(std::int64_t(targets.size()) == h.shape()[0], ErrorCode::shape, kWhere, targets.size(), " targets for ",
          h.shape()[0], " rows");
  for (const std::int32_t t : targets)
    require(-1 <= t && t < head.size(), ErrorCode::usage, kWhere, "target ", t, " in a vocabulary of ", head.size());
}

}  // namespace

Var cross_entropy(const Var& h, const HeadWeight& w, std::span<const std::int32_t> targets, Compute compute) {
  const Head head(w, compute);
  check(h.value(), w, head, targets, compute);
  const Var* dense = std::get_if<Var>(&w);
  Pass pass(h.value(), head, targets, {h.tracked(), dense && dense->tracked()});
  double total = 0;
  for (const double nll : pass.nll()) total += nll;
  Tensor loss = Tensor::full({1}, total, h.value().dtype()).to(h.value().device());
  if (dense) return record<TrainableHeadOp>({h, *dense}, std::move(loss), {std::move(pass.dh), std::move(pass.dw)});
  return record<FrozenHeadOp>({h}, std::move(loss), {std::move(pass.dh)});
}

std::int64_t cross_entropy_scratch(std::int64_t n, std::int64_t d, std::int64_t vocabulary) {
  const std::int64_t rows = std::max<std::int64_t>(1, std::min(rows_at_once(vocabulary), n));
  return rows * (std::min(vocabulary, kLogitsAtOnce / rows) + 2 * d);
}

Tensor token_nll(const Tensor& h, const HeadWeight& w, std::span<const std::int32_t> targets, Compute compute) {
  const Head head(w, compute);
  check(h, w, head, targets, compute);
  const Pass pass(h, head, targets, {});
  Tensor out = Tensor::zeros({h.shape()[0]}, h.dtype());
  visit_float(h.dtype(), kWhere, [&]<class T>() {
    const auto to = out.mutable_data<T>();
    for (std::size_t i = 0; i < pass.ids().size(); ++i) to[std::size_t(pass.ids()[i])] = T(pass.nll()[i]);
  });
  return out;
}

}  // namespace sinter
