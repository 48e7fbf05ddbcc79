#pragma once
#include <span>

#include "core/kernel_slot.h"
#include "core/tape.h"

namespace sinter {

// cos and sin of position·frequency for each row of a pass, shared by all its blocks: [T, head_dim/2], f32.
struct RopeTable {
  Tensor cos, sin;
};

// Angles are rounded as Hugging Face rounds them: position · inv_freq in f32.
RopeTable make_rope_table(std::span<const float> inv_freq, std::span<const std::int32_t> positions);

// Rotary embedding in the rotate-half layout: (x1, x2) -> (x1·cos − x2·sin, x2·cos + x1·sin) with x1, x2 the halves of
// each head; x [T, heads·head_dim]. Its vjp is the inverse rotation. RoFormer (Su et al. 2021).
Var rope(const Var& x, const RopeTable&, std::int64_t heads);

// inverse: rotates by the negative angles.
extern KernelSlot<void(const Tensor& x, const RopeTable&, std::int64_t heads, bool inverse, Tensor& y)> rope_kernel;

}  // namespace sinter
