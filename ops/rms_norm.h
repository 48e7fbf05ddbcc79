#pragma once
#include "core/kernel_slot.h"
#include "core/tape.h"

namespace sinter {

// y = x / rms(x) ⊙ w,  rms(x) = √(mean(x²) + eps);  x [T, d], w [d]
Var rms_norm(const Var& x, const Var& w, double eps);

// {h, y}: h = x + r, y = rms_norm(h). Saves h once for both.
std::array<Var, 2> add_rms_norm(const Var& x, const Var& r, const Var& w, double eps);
std::array<Var, 2> add_rms_norm_composed(const Var& x, const Var& r, const Var& w, double eps);  // the specification

extern KernelSlot<void(const Tensor& x, const Tensor& w, double eps, Tensor& y)> rms_norm_kernel;
extern KernelSlot<void(const Tensor& x, const Tensor& r, const Tensor& w, double eps, Tensor& h, Tensor& y)>
    add_rms_norm_kernel;
// dx (where not empty) = residual (where not empty) + the norm's own gradient; dw where not empty. w may be empty when
// dx is.
extern KernelSlot<void(const Tensor& x, const Tensor& w, const Tensor& dy, const Tensor& residual, double eps,
                       Tensor& dx, Tensor& dw)>
    rms_norm_backward_kernel;

}  // namespace sinter
