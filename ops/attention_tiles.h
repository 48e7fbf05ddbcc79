#pragma once
#include <cmath>
#include "core/parallel.h"
#include "core/view.h"
#include "ops/attention_kernels.h"
#include "ops/vector_math.h"

// Tiles of rows and the small products on them: what the forward and the backward CPU kernel of attention share.
namespace sinter::attention_cpu {

inline constexpr std::int64_t kTile = 64;  // rows of a tile: scores [64, 64] in f32 fill half of a 32 KB cache
inline constexpr std::int64_t kPad = 16;  // packed rows and columns come in multiples of this

inline std::int64_t padded(std::int64_t n) { return (n + kPad - 1) / kPad * kPad; }

// Up to kTile consecutive rows of one sequence.
struct Tile {
  std::int64_t span;  // index of the sequence
  std::int64_t begin, n, pad;  // first row within the sequence, rows, padded(rows)
  std::int64_t row;  // first row in q, or in k and v
  std::int64_t at;  // first row in the packed copy
};

struct Tiling {
  std::vector<Tile> tiles;
  std::vector<std::int64_t> first{0};  // span s owns the tiles first[s] .. first[s + 1]
  std::int64_t rows = 0;  // of the packed copy

  void add(std::int64_t row, std::int64_t length);  // the next span
  std::int64_t count() const { return std::int64_t(tiles.size()); }
};

// A packed copy of one operand: per head and tile, [pad, width] or transposed [width, pad]; padding is zero.
template <class T>
struct PackedHeads {
  Tensor data;
  std::int64_t rows, width;  // width = padded(head_dim)
  T* base;

  PackedHeads(std::int64_t heads, std::int64_t packed_rows, std::int64_t head_dim)
      : data(Tensor::empty({heads * packed_rows, padded(head_dim)}, dtype_of<T>)),
        rows(packed_rows),
        width(padded(head_dim)),
        base(data.mutable_data<T>().data()) {}
  T* tile(std::int64_t head, const Tile& t) const { return base + (head * rows + t.at) * width; }
};

// x [T, heads·head_dim] into packed tiles, times `factor`.
template <class T>
PackedHeads<T> pack(const Tensor& x, const Tiling&, std::int64_t heads, std::int64_t head_dim, T factor);
template <class T>
PackedHeads<T> pack_transposed(const Tensor& x, const Tiling&, std::int64_t heads, std::int64_t head_dim);

// Which scores of a tile of queries against a tile of keys are seen: query r sees the keys below limit(r).
struct Visible {
  std::int64_t queries, keys;
  std::int64_t first;  // keys that query 0 sees, unclamped: may be negative or beyond the tile

  Visible(const Tile& q, const Tile& k, const AttentionSpan& s)
      : queries(q.n), keys(k.n), first(s.kv_len - s.q_len + q.begin - k.begin + 1) {}
  std::int64_t limit(std::int64_t r) const { return std::clamp<std::int64_t>(first + r, 0, keys); }
  bool all() const { return first >= keys; }
  // Strips of queries short enough that the causal corner costs little: f(begin, end), padded ends.
  template <class F>
  void each_strip(F f) const {
    const std::int64_t step = all() ? kTile : kPad;
    for (std::int64_t r = 0; r < queries; r += step) f(r, std::min(r + step, padded(queries)));
  }
  std::int64_t columns(std::int64_t strip_end) const { return limit(std::min(strip_end, queries) - 1); }
};

// c[m, n] (+)= a · b with a(i, p) = a[i·rs + p·cs], rows of b at stride ldb. m and n are multiples of 8 and 16.
inline void product(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t rs, std::int64_t cs,
                    const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool add) {
  cpu_kernels().tile_product(m, n, k, a, rs, cs, b, ldb, c, ldc, add);
}
inline void product(std::int64_t m, std::int64_t n, std::int64_t k, const double* a, std::int64_t rs, std::int64_t cs,
                    const double* b, std::int64_t ldb, double* c, std::int64_t ldc, bool add) {
  for (std::int64_t i = 0; i < m; ++i) {
    if (!add) std::fill_n(c + i * ldc, n, 0.0);
    for (std::int64_t p = 0; p < k; ++p) row_axpy(c + i * ldc, a[i * rs + p * cs], b + p * ldb, n);
  }
}

// y[t, r] = x[t] · w[r] and y[t] += Σ_r a[t, r]·w[r], few rows t against rows of w read in place.
inline void dot_rows(const float* x, std::int64_t ldx, int few, const float* w, std::int64_t ldw, std::int64_t rows,
                     std::int64_t k, float* y, std::int64_t ldy) {
  cpu_kernels().dot_rows_f32(x, ldx, few, w, ldw, rows, k, y, ldy);
}
inline void dot_rows(const double* x, std::int64_t ldx, int few, const double* w, std::int64_t ldw, std::int64_t rows,
                     std::int64_t k, double* y, std::int64_t ldy) {
  for (int t = 0; t < few; ++t)
    for (std::int64_t r = 0; r < rows; ++r) y[t * ldy + r] = row_dot(x + t * ldx, w + r * ldw, k);
}
inline void add_rows(const float* a, std::int64_t lda, int few, const float* w, std::int64_t ldw, std::int64_t rows,
                     std::int64_t n, float* y, std::int64_t ldy) {
  cpu_kernels().add_rows_f32(a, lda, few, w, ldw, rows, n, y, ldy);
}
inline void add_rows(const double* a, std::int64_t lda, int few, const double* w, std::int64_t ldw, std::int64_t rows,
                     std::int64_t n, double* y, std::int64_t ldy) {
  for (int t = 0; t < few; ++t)
    for (std::int64_t r = 0; r < rows; ++r) row_axpy(y + t * ldy, a[t * lda + r], w + r * ldw, n);
}

// One more stretch of scores of one query (online softmax): scores become exp(s − m), acc and l are rescaled to the
// new maximum. Milakov and Gimelshein 2018; FlashAttention-2, algorithm 1.
template <class T>
void absorb_scores(T* s, std::int64_t n, T& m, T& l, T* acc, std::int64_t width) {
  const T top = std::max(m, row_max(s, n));
  if (top != m) {
    const T shrink = std::exp(m - top);
    l *= shrink;
    row_scale(acc, shrink, width);
    m = top;
  }
  l += row_exp(s, m, n);
}

// o = acc / l, lse = m + log l
template <class T>
void finish_row(const T* acc, T m, T l, std::int64_t head_dim, T* o, T* lse) {
  for (std::int64_t j = 0; j < head_dim; ++j) o[j] = acc[j] / l;
  if (lse) *lse = m + std::log(l);
}

// The spans of less than kFewQueries queries: they read keys and values in place, for packing would cost more than it
// gives. o and lse as in attention_kernel.
inline constexpr std::int64_t kFewQueries = 8;
template <class T>
void few_queries(const AttentionProblem&, Tensor& o, Tensor& lse);

}  // namespace sinter::attention_cpu
