#include "ops/attention_tiles.h"

namespace sinter::attention_cpu {
namespace {

constexpr std::int64_t kStretch = 32;  // keys at a time: their rows, all heads, stay in the second-level cache
constexpr std::int64_t kAtOnce = 8;  // (query, head) pairs that share a reading of the keys

// Some key heads of one span whose few queries read keys and values in place, stretch by stretch and head by head
// within it, so that memory is read in order. Pair x of key head kv is query x / group of head kv·group + x % group.
template <class T>
class FewQueries {
 public:
  FewQueries(const AttentionProblem& p, const AttentionSpan& s, std::int64_t first_head, std::int64_t last_head)
      : p_(p),
        s_(s),
        first_(first_head),
        last_(last_head),
        group_(p.shape.heads / p.shape.kv_heads),
        pairs_(s.q_len * group_),
        d_(p.shape.head_dim) {
    const std::int64_t n = (last_ - first_) * pairs_;
    scratch_ = Tensor::zeros({n * (2 * d_ + 2) + kAtOnce * kStretch}, dtype_of<T>);
    q_ = scratch_.mutable_data<T>().data();
    acc_ = q_ + n * d_;
    m_ = acc_ + n * d_;
    l_ = m_ + n;
    scores_ = l_ + n;
    std::fill_n(m_, n, T(-INFINITY));
  }

  void run(T* o, T* lse, std::int64_t lse_stride) {
    const std::int64_t h = p_.shape.heads;
    each_pair([&](std::int64_t at, std::int64_t row, std::int64_t head) {
      const T* const q = p_.q.data<T>().data() + (row * h + head) * d_;
      for (std::int64_t j = 0; j < d_; ++j) q_[at * d_ + j] = T(p_.shape.scale) * q[j];
    });
    for (std::int64_t b = 0; b < s_.kv_len; b += kStretch) {
      read_in_order(p_.k, b);
      read_in_order(p_.v, b);
      for (std::int64_t kv = first_; kv < last_; ++kv)
        for (std::int64_t x = 0; x < pairs_; x += kAtOnce) stretch(kv, x, std::min(kAtOnce, pairs_ - x), b);
    }
    each_pair([&](std::int64_t at, std::int64_t row, std::int64_t head) {
      finish_row(acc_ + at * d_, m_[at], l_[at], d_, o + (row * h + head) * d_,
                 lse ? lse + head * lse_stride + row : nullptr);
    });
  }

 private:
  template <class F>
  void each_pair(F f) const {
    for (std::int64_t kv = first_; kv < last_; ++kv)
      for (std::int64_t x = 0; x < pairs_; ++x)
        f((kv - first_) * pairs_ + x, s_.q_row + x / group_, kv * group_ + x % group_);
  }

  // Touches each cache line of a stretch's rows in order: head by head they would come in pieces of a row that no
  // prefetcher follows (measured, 2048 keys of 32 heads: 16 GB/s instead of 7).
  void read_in_order(const Tensor& x, std::int64_t b) const {
    const std::int64_t stride = p_.shape.kv_heads * d_;
    const T* const from = x.data<T>().data() + (s_.kv_row + b) * stride + first_ * d_;
    for (std::int64_t r = 0; r < std::min(kStretch, s_.kv_len - b); ++r)
      for (std::int64_t j = 0; j < (last_ - first_) * d_; j += 64 / std::int64_t(sizeof(T)))
        (void)*static_cast<const volatile T*>(from + r * stride + j);
  }

  // The keys from b on against `count` pairs of one key head.
  void stretch(std::int64_t kv, std::int64_t x, std::int64_t count, std::int64_t b) {
    const auto visible = [&](std::int64_t i) {
      return std::clamp<std::int64_t>(s_.kv_len - s_.q_len + (x + i) / group_ + 1 - b, 0, kStretch);
    };
    const std::int64_t n = visible(count - 1), stride = p_.shape.kv_heads * d_;
    const std::int64_t from = (s_.kv_row + b) * stride + kv * d_, at = (kv - first_) * pairs_ + x;
    dot_rows(q_ + at * d_, d_, int(count), p_.k.data<T>().data() + from, stride, n, d_, scores_, kStretch);
    for (std::int64_t i = 0; i < count; ++i) {
      T* const row = scores_ + i * kStretch;
      if (visible(i) > 0) absorb_scores(row, visible(i), m_[at + i], l_[at + i], acc_ + (at + i) * d_, d_);
      std::fill(row + visible(i), row + n, T(0));
    }
    add_rows(scores_, kStretch, int(count), p_.v.data<T>().data() + from, stride, n, d_, acc_ + at * d_, d_);
  }

  const AttentionProblem& p_;
  const AttentionSpan& s_;
  const std::int64_t first_, last_, group_, pairs_, d_;
  Tensor scratch_;
  T *q_, *acc_, *m_, *l_, *scores_;  // per pair: scaled query, Σ exp(s − m) v, m, l; scores [kAtOnce, kStretch]
};

}  // namespace

template <class T>
void few_queries(const AttentionProblem& p, Tensor& o, Tensor& lse) {
  std::vector<const AttentionSpan*> spans;
  for (const AttentionSpan& s : p.spans)
    if (s.q_len < kFewQueries) spans.push_back(&s);
  if (spans.empty()) return;
  // Heads do not touch each other's sums, so the split may follow the number of threads.
  const std::int64_t g = p.shape.kv_heads, all = std::int64_t(spans.size()) * g;
  const std::int64_t heads = std::clamp<std::int64_t>((all + threads() - 1) / threads(), 1, g);
  const std::int64_t parts = (g + heads - 1) / heads;
  T* const out = View(o).data<T>();
  T* const log_sums = lse ? View(lse).data<T>() : nullptr;
  parallel_for(std::int64_t(spans.size()) * parts, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t u = begin; u < end; ++u) {
      const std::int64_t first = u % parts * heads;
      FewQueries<T>(p, *spans[std::size_t(u / parts)], first, std::min(first + heads, g))
          .run(out, log_sums, o.shape()[0]);
    }
  });
}

template void few_queries<float>(const AttentionProblem&, Tensor&, Tensor&);
template void few_queries<double>(const AttentionProblem&, Tensor&, Tensor&);

}  // namespace sinter::attention_cpu
