#pragma once
#include "core/kernel_slot.h"
#include "ops/attention.h"

namespace sinter {

// What both directions of fused attention work on; shapes as in attention.h, checked there.
struct AttentionProblem {
  Tensor q, k, v;
  AttentionShape shape;
  std::vector<AttentionSpan> spans;
};

// The rules for shapes, types and spans, for both forms of the op.
void check_attention(const Var& q, const Var& k, const Var& v, const AttentionShape&,
                     const std::vector<AttentionSpan>&);

// o [Tq, heads·head_dim] and lse [heads, Tq] arrive zeroed. lse = log Σ exp(scores), of rows inside a span; an empty one
// is not wanted (nothing is recorded).
extern KernelSlot<void(const AttentionProblem&, Tensor& o, Tensor& lse)> attention_kernel;

// What the forward left behind, and the cotangent of o.
struct AttentionTrace {
  const Tensor &o, &lse, &dy;
};
// dq, dk, dv arrive zeroed. dk and dv come together, each pair and dq only where its tensors are not empty.
extern KernelSlot<void(const AttentionProblem&, const AttentionTrace&, Tensor& dq, Tensor& dk, Tensor& dv)>
    attention_vjp_kernel;

}  // namespace sinter
