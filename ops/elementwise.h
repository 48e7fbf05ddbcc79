#pragma once
#include "core/kernel_slot.h"
#include "core/tape.h"

namespace sinter {

Var add(const Var& a, const Var& b);  // same shape
Var mul(const Var& a, const Var& b);  // same shape
Var scale(const Var& x, double s);  // s·x
Var add_bias(const Var& x, const Var& b);  // x[T, d] + b[d]

extern KernelSlot<void(const Tensor&a, const Tensor&b, Tensor&y)> add_kernel, mul_kernel, add_bias_kernel;
extern KernelSlot<void(const Tensor& x, double s, Tensor& y)> scale_kernel;
extern KernelSlot<void(const Tensor& dy, Tensor& db)> bias_grad_kernel;  // db[d] = Σ_t dy[t], in a fixed order

}  // namespace sinter
