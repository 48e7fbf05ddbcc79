#pragma once
#include <span>
#include <variant>
#include "core/tape.h"
#include "ops/frozen_weight.h"

namespace sinter {

// The output projection: frozen (no gradient exists for it) or a trainable [V, d].
using HeadWeight = std::variant<Var, FrozenWeightPtr>;

// Σ_t −log softmax(h_t · Wᵀ)[target_t] as a [1] tensor of h's type; target −1: the row does not count.
// h [T, d]. Logits exist for a chunk of rows and vocabulary at a time, forward and backward; gradients reach h, and W
// where it is a tracked Var: both are formed with the loss, one product cheaper than from the vjp, which scales them.
// Targets outside [−1, V) are Error(usage).
Var cross_entropy(const Var& h, const HeadWeight&, std::span<const std::int32_t> targets, Compute = Compute::f32);

// Values that it holds beside h [n, d], whose rows all count, and the gradients: logits of a chunk; where h is tracked,
// two sums of a chunk's rows.
std::int64_t cross_entropy_scratch(std::int64_t n, std::int64_t d, std::int64_t vocabulary);

// The same through explicit [T, V] logits: the specification.
Var cross_entropy_composed(const Var& h, const HeadWeight&, std::span<const std::int32_t> targets);

// Per row: −log softmax(h_t · Wᵀ)[target_t], 0 where the target is −1; [T] f32 (f64 for f64 input). Nothing is recorded.
Tensor token_nll(const Tensor& h, const HeadWeight&, std::span<const std::int32_t> targets, Compute = Compute::f32);

}  // namespace sinter
