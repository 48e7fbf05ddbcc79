#pragma once
#include "core/kernel_slot.h"
#include "core/random.h"
#include "core/tape.h"

namespace sinter {

// y_i = x_i / (1 − p) where rng.bits(i) >= p·2³², else 0. Saves nothing but the generator; p = 0 returns x.
// p outside [0, 1) is Error(usage).
Var dropout(const Var& x, double p, Rng);

extern KernelSlot<void(const Tensor& x, double p, Rng, Tensor& y)> dropout_kernel;

}  // namespace sinter
