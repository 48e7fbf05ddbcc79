#pragma once
#include "core/kernel_slot.h"
#include "core/tape.h"
#include "ops/gemm.h"

namespace sinter {

Var silu(const Var& x);  // x·σ(x)
Var gelu(const Var& x);  // x·Φ(x), exact (erf)
Var relu(const Var& x);  // max(x, 0); its gradient at 0 is 0
Var activate(const Var& x, Activation);

// silu(gate) ⊙ up, one pass; gate, up [T, f]
Var swiglu(const Var& gate, const Var& up);
Var swiglu_composed(const Var& gate, const Var& up);  // the specification

extern KernelSlot<void(const Tensor& x, Activation, Tensor& y)> activation_kernel;
// `saved` is x for silu and gelu, y for relu.
extern KernelSlot<void(const Tensor& saved, const Tensor& dy, Activation, Tensor& dx)> activation_backward_kernel;
extern KernelSlot<void(const Tensor& gate, const Tensor& up, Tensor& y)> swiglu_kernel;
extern KernelSlot<void(const Tensor& gate, const Tensor& up, const Tensor& dy, Tensor& dgate, Tensor& dup)>
    swiglu_backward_kernel;

}  // namespace sinter
