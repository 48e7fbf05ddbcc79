#include "ops/attention_tiles.h"

namespace sinter {
namespace attention_cpu {
namespace {

// A task owns a key head of a span, or a share of its key tiles: rows of dk and dv have one owner, dq is summed over the
// shares in order. The number of shares depends on the problem alone, never on the threads.
constexpr std::int64_t kWantedTasks = 8, kMostShares = 4;

template <class T>
struct Workspace {
  Tensor data;
  T *p, *ds, *dk, *dv;  // [64, 64] twice, [64, width] twice
  explicit Workspace(std::int64_t width) : data(Tensor::empty({2 * kTile * (kTile + width)}, dtype_of<T>)) {
    p = data.mutable_data<T>().data();
    ds = p + kTile * kTile;
    dk = ds + kTile * kTile;
    dv = dk + kTile * width;
  }
};

template <class T>
class Backward {
 public:
  Backward(const AttentionProblem& p, const AttentionTrace& t, bool want_q, bool want_kv)
      : p_(p), t_(t), a_(p.shape), group_(a_.heads / a_.kv_heads), want_q_(want_q), want_kv_(want_kv) {
    std::int64_t longest = 1;
    for (const AttentionSpan& s : p.spans) {
      q_.add(s.q_row, s.q_len);
      k_.add(s.kv_row, s.kv_len);
      longest = std::max(longest, k_.first.back() - k_.first.end()[-2]);
    }
    owners_ = std::int64_t(p.spans.size()) * a_.kv_heads;
    shares_ =
        std::clamp<std::int64_t>(kWantedTasks / std::max<std::int64_t>(owners_, 1), 1, std::min(kMostShares, longest));
  }

  void run(Tensor& dq, Tensor& dk, Tensor& dv) {
    if (p_.spans.empty()) return;
    const std::int64_t h = a_.heads, g = a_.kv_heads, d = a_.head_dim;
    const Packed all{pack<T>(p_.q, q_, h, d, T(a_.scale)), pack<T>(t_.dy, q_, h, d, 1),
                     pack<T>(p_.k, k_, g, d, 1),           pack_transposed<T>(p_.k, k_, g, d),
                     pack_transposed<T>(p_.v, k_, g, d),   PackedHeads<T>(want_q_ ? shares_ * h : 0, q_.rows, d)};
    delta_ = row_products();
    parallel_for(owners_ * shares_, 1, [&](std::int64_t begin, std::int64_t end) {
      Workspace<T> w(all.q.width);
      for (std::int64_t u = begin; u < end; ++u) task(all, w, u, dk, dv);
    });
    if (want_q_) collect_dq(all.dq, dq);
  }

 private:
  struct Packed {
    PackedHeads<T> q, dy;  // q scaled
    PackedHeads<T> k, k_t, v_t;
    PackedHeads<T> dq;  // share s of head h at s·heads + h
  };

  // δ_t = Σ_j dy_tj·o_tj per row and head, [heads, Tq]
  Tensor row_products() const {
    const std::int64_t rows = t_.o.shape()[0], h = a_.heads, d = a_.head_dim;
    Tensor delta = Tensor::empty({h, rows}, dtype_of<T>);
    T* const out = delta.mutable_data<T>().data();
    const T *const o = t_.o.template data<T>().data(), *const dy = t_.dy.template data<T>().data();
    parallel_for(rows, row_grain(h * d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r)
        for (std::int64_t i = 0; i < h; ++i) out[i * rows + r] = row_dot(o + (r * h + i) * d, dy + (r * h + i) * d, d);
    });
    return delta;
  }

  void task(const Packed& all, Workspace<T>& w, std::int64_t u, Tensor& dk, Tensor& dv) const {
    const std::int64_t share = u % shares_, kv = u / shares_ % a_.kv_heads, span = u / shares_ / a_.kv_heads;
    const std::int64_t q_begin = q_.first[std::size_t(span)], q_end = q_.first[std::size_t(span) + 1];
    const AttentionSpan& s = p_.spans[std::size_t(span)];
    if (want_q_)
      for (std::int64_t head = kv * group_; head < (kv + 1) * group_; ++head)
        for (std::int64_t i = q_begin; i < q_end; ++i) {
          const Tile& t = q_.tiles[std::size_t(i)];
          std::fill_n(all.dq.tile(share * a_.heads + head, t), t.pad * all.dq.width, T(0));
        }
    for (std::int64_t j = k_.first[std::size_t(span)] + share; j < k_.first[std::size_t(span) + 1]; j += shares_) {
      const Tile& k = k_.tiles[std::size_t(j)];
      std::fill_n(w.dk, k.pad * all.k.width, T(0));
      std::fill_n(w.dv, k.pad * all.k.width, T(0));
      const std::int64_t first = std::max<std::int64_t>(0, k.begin - (s.kv_len - s.q_len)) / kTile;  // sees the tile
      for (std::int64_t head = kv * group_; head < (kv + 1) * group_; ++head)
        for (std::int64_t i = q_begin + first; i < q_end; ++i) pair(all, w, share, head, q_.tiles[std::size_t(i)], k);
      if (want_kv_) {
        write(w.dk, k, kv, dk);
        write(w.dv, k, kv, dv);
      }
    }
  }

  // A tile of queries of one head against a tile of keys: adds to w.dk, w.dv and the share's dq.
  void pair(const Packed& all, Workspace<T>& w, std::int64_t share, std::int64_t head, const Tile& q,
            const Tile& k) const {
    const Visible seen(q, k, p_.spans[std::size_t(q.span)]);
    const std::int64_t width = all.q.width, kv = head / group_;
    const T *const queries = all.q.tile(head, q), *const dy = all.dy.tile(head, q);
    T* const dq = want_q_ ? all.dq.tile(share * a_.heads + head, q) : nullptr;
    seen.each_strip([&](std::int64_t r0, std::int64_t r1) {
      const std::int64_t n = seen.columns(r1), rows = r1 - r0;
      T *const p = w.p + r0 * kTile, *const ds = w.ds + r0 * kTile;
      product(rows, padded(n), width, queries + r0 * width, width, 1, all.k_t.tile(kv, k), k.pad, p, kTile, false);
      product(rows, padded(n), width, dy + r0 * width, width, 1, all.v_t.tile(kv, k), k.pad, ds, kTile, false);
      for (std::int64_t r = r0; r < std::min(r1, q.n); ++r)
        row(w.p + r * kTile, w.ds + r * kTile, seen.limit(r), padded(n), head * t_.lse.shape()[1] + q.row + r);
      if (dq) product(rows, width, n, ds, kTile, 1, all.k.tile(kv, k), width, dq + r0 * width, width, true);
    });
    if (!want_kv_) return;
    const std::int64_t step = seen.all() ? k.pad : kPad;
    for (std::int64_t c = 0; c < seen.columns(q.n); c += step) {  // dv += pᵀ dy, dk += dsᵀ q
      const std::int64_t r0 = std::clamp<std::int64_t>(c + 1 - seen.first, 0, q.n);  // the first query that sees key c
      product(step, width, q.n - r0, w.p + r0 * kTile + c, 1, kTile, dy + r0 * width, width, w.dv + c * width, width,
              true);
      product(step, width, q.n - r0, w.ds + r0 * kTile + c, 1, kTile, queries + r0 * width, width, w.dk + c * width,
              width, true);
    }
  }

  // Scores become p = exp(s − lse), and dy vᵀ becomes ds = p ⊙ (dy vᵀ − δ); zero from `visible` on.
  void row(T* p, T* ds, std::int64_t visible, std::int64_t columns, std::int64_t at) const {
    const T delta = delta_.template data<T>()[std::size_t(at)];
    row_exp(p, t_.lse.template data<T>()[std::size_t(at)], visible);
    std::fill(p + visible, p + columns, T(0));
    std::fill(ds + visible, ds + columns, T(0));
    for (std::int64_t c = 0; c < columns; c += kPad)
      for (std::int64_t j = c; j < c + kPad; ++j) ds[j] = p[j] * (ds[j] - delta);
  }

  void write(const T* tile, const Tile& k, std::int64_t kv, Tensor& out) const {
    const View to(out);
    for (std::int64_t r = 0; r < k.n; ++r)
      std::copy_n(tile + r * padded(a_.head_dim), a_.head_dim, to.row<T>(k.row + r).data() + kv * a_.head_dim);
  }

  // dq = scale · Σ_shares ds k, in order
  void collect_dq(const PackedHeads<T>& parts, Tensor& dq) const {
    const View to(dq);
    const std::int64_t h = a_.heads, d = a_.head_dim, width = parts.width;
    parallel_for(q_.count() * h, 8, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t u = begin; u < end; ++u) {
        const Tile& t = q_.tiles[std::size_t(u / h)];
        for (std::int64_t r = 0; r < t.n; ++r) {
          T* const out = to.row<T>(t.row + r).data() + u % h * d;
          for (std::int64_t s = 0; s < shares_; ++s)
            row_axpy(out, T(a_.scale), parts.tile(s * h + u % h, t) + r * width, d);
        }
      }
    });
  }

  const AttentionProblem& p_;
  const AttentionTrace& t_;
  const AttentionShape& a_;
  const std::int64_t group_;
  const bool want_q_, want_kv_;
  Tiling q_, k_;
  std::int64_t owners_, shares_;
  Tensor delta_;
};

void backward(const AttentionProblem& p, const AttentionTrace& t, Tensor& dq, Tensor& dk, Tensor& dv) {
  visit_float(p.q.dtype(), "attention", [&]<class T>() { Backward<T>(p, t, bool(dq), bool(dk)).run(dq, dk, dv); });
}

}  // namespace
}  // namespace attention_cpu

constinit KernelSlot<void(const AttentionProblem&, const AttentionTrace&, Tensor&, Tensor&, Tensor&)>
    attention_vjp_kernel("attention_vjp", attention_cpu::backward);

}  // namespace sinter
