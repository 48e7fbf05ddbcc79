#include "ops/attention_tiles.h"

namespace sinter {
namespace attention_cpu {
namespace {

template <class T>
class Forward {
 public:
  Forward(const AttentionProblem& p, Tensor& o, Tensor& lse)
      : p_(p),
        a_(p.shape),
        group_(a_.heads / a_.kv_heads),
        q_data_(p.q.data<T>().data()),
        o_(View(o).data<T>()),
        lse_(lse ? View(lse).data<T>() : nullptr),
        q_rows_(o.shape()[0]) {
    for (const AttentionSpan& s : p.spans) {
      const bool tiled = s.q_len >= kFewQueries;
      q_.add(s.q_row, tiled ? s.q_len : 0);
      k_.add(s.kv_row, tiled ? s.kv_len : 0);
    }
  }

  void run() {
    if (q_.count() == 0) return;
    const auto keys = pack_transposed<T>(p_.k, k_, a_.kv_heads, a_.head_dim);
    const auto values = pack<T>(p_.v, k_, a_.kv_heads, a_.head_dim, 1);
    const std::int64_t units = q_.count() * a_.heads;
    parallel_for(units, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t u = begin; u < end; ++u) {  // the last tiles see most keys: they go first
        const std::int64_t i = units - 1 - u;
        tile(q_.tiles[std::size_t(i / a_.heads)], i % a_.heads, keys, values);
      }
    });
  }

 private:
  T* output(std::int64_t row, std::int64_t head) const { return o_ + (row * a_.heads + head) * a_.head_dim; }
  T* log_sum(std::int64_t row, std::int64_t head) const { return lse_ ? lse_ + head * q_rows_ + row : nullptr; }
  void load_query(std::int64_t row, std::int64_t head, T* to) const {  // scaled
    const T* const q = q_data_ + (row * a_.heads + head) * a_.head_dim;
    for (std::int64_t j = 0; j < a_.head_dim; ++j) to[j] = T(a_.scale) * q[j];
  }

  // One tile of queries of one head, against all keys it sees.
  void tile(const Tile& t, std::int64_t head, const PackedHeads<T>& keys, const PackedHeads<T>& values) const {
    const std::int64_t width = keys.width, kv = head / group_;
    Tensor scratch = Tensor::empty({kTile * (kTile + 2 * width + 2)}, dtype_of<T>);
    T* const s = scratch.mutable_data<T>().data();  // scores, then exp(scores - m) [64, 64]
    T* const q = s + kTile * kTile;  // scaled queries [64, width]
    T* const acc = q + kTile * width;  // Σ exp(scores - m) v [64, width]
    T *const m = acc + kTile * width, *const l = m + kTile;
    std::fill_n(q, t.pad * width, T(0));
    std::fill_n(acc, t.pad * width, T(0));
    std::fill_n(m, kTile, T(-INFINITY));
    std::fill_n(l, kTile, T(0));
    for (std::int64_t r = 0; r < t.n; ++r) load_query(t.row + r, head, q + r * width);

    for (std::int64_t i = k_.first[t.span]; i < k_.first[t.span + 1]; ++i) {
      const Tile& k = k_.tiles[std::size_t(i)];
      const Visible seen(t, k, p_.spans[std::size_t(t.span)]);
      if (seen.limit(t.n - 1) == 0) break;
      seen.each_strip([&](std::int64_t r0, std::int64_t r1) {
        const std::int64_t n = seen.columns(r1);
        T* const rows = s + r0 * kTile;
        product(r1 - r0, padded(n), width, q + r0 * width, width, 1, keys.tile(kv, k), k.pad, rows, kTile, false);
        for (std::int64_t r = r0; r < std::min(r1, t.n); ++r) {
          T* const row = s + r * kTile;
          const std::int64_t visible = seen.limit(r);
          if (visible > 0) absorb_scores(row, visible, m[r], l[r], acc + r * width, width);
          std::fill(row + visible, row + padded(n), T(0));
        }
        product(r1 - r0, width, n, rows, kTile, 1, values.tile(kv, k), width, acc + r0 * width, width, true);
      });
    }
    for (std::int64_t r = 0; r < t.n; ++r)
      finish_row(acc + r * width, m[r], l[r], a_.head_dim, output(t.row + r, head), log_sum(t.row + r, head));
  }

  const AttentionProblem& p_;
  const AttentionShape& a_;
  const std::int64_t group_;
  const T* const q_data_;
  T *const o_, *const lse_;
  const std::int64_t q_rows_;
  Tiling q_, k_;
};

void forward(const AttentionProblem& p, Tensor& o, Tensor& lse) {
  visit_float(o.dtype(), "attention", [&]<class T>() {
    few_queries<T>(p, o, lse);
    Forward<T>(p, o, lse).run();
  });
}

}  // namespace
}  // namespace attention_cpu

constinit KernelSlot<void(const AttentionProblem&, Tensor&, Tensor&)> attention_kernel("attention",
                                                                                       attention_cpu::forward);

}  // namespace sinter
