#pragma once
#include <vector>
#include "core/tape.h"

namespace sinter {

struct AttentionShape {
  std::int64_t heads, kv_heads, head_dim;  // kv_heads divides heads: query head h reads key head h / (heads / kv_heads)
  double scale;  // usually head_dim^-1/2
};

// One sequence: its queries are rows q_row.., its keys and values rows kv_row... Query i sees the keys
// 0 .. kv_len − q_len + i (causal, with kv_len − q_len earlier tokens from a cache).
struct AttentionSpan {
  std::int64_t q_row, q_len, kv_row, kv_len;
};

// Causal grouped-query attention, o = softmax(scale · q kᵀ + causal) v per head and sequence.
// q, o [Tq, heads·head_dim]; k, v [Tk, kv_heads·head_dim]. Online softmax over key tiles: memory linear in the length,
// forward and backward (the backward keeps q, k, v, o and one log-sum-exp per query and head).
// FlashAttention-2 (Dao 2023), on the CPU. Rows of q outside every span give zero; no row of q may lie in two spans,
// and where k or v is tracked no row of k. Spans of a few queries read keys and values in place (decoding).
Var attention(const Var& q, const Var& k, const Var& v, const AttentionShape&, std::vector<AttentionSpan>);

// The specification: explicit T x T scores.
Var attention_composed(const Var& q, const Var& k, const Var& v, const AttentionShape&, std::vector<AttentionSpan>);

}  // namespace sinter
