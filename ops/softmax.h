#pragma once
#include "core/kernel_slot.h"
#include "core/tape.h"

namespace sinter {

// Over the last dimension, shifted by the row's maximum.
Var softmax(const Var& x);

extern KernelSlot<void(const Tensor& x, Tensor& y)> softmax_kernel;
extern KernelSlot<void(const Tensor& y, const Tensor& dy, Tensor& dx)> softmax_backward_kernel;

}  // namespace sinter
