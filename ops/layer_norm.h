#pragma once
#include "core/kernel_slot.h"
#include "core/tape.h"

namespace sinter {

// y = (x − mean(x)) / √(var(x) + eps) ⊙ w + b, biased variance;  x [T, d], w, b [d]
Var layer_norm(const Var& x, const Var& w, const Var& b, double eps);

extern KernelSlot<void(const Tensor& x, const Tensor& w, const Tensor& b, double eps, Tensor& y)> layer_norm_kernel;
// dx and dwb [2, d] = {dw; db} where not empty. w may be empty when dx is.
extern KernelSlot<void(const Tensor& x, const Tensor& w, const Tensor& dy, double eps, Tensor& dx, Tensor& dwb)>
    layer_norm_backward_kernel;

}  // namespace sinter
