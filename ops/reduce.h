#pragma once
#include <vector>

#include "core/kernel_slot.h"
#include "core/tape.h"

namespace sinter {

Var sum(const Var& x);  // [1]
Var mean(const Var& x);  // [1]; x is not empty
Var sum_sq(const Var& x);  // [1]

// Not differentiable, on the CPU, any float type. Ties: the lowest index first; NaN counts as less than everything.
std::int64_t argmax(const Tensor& row);  // of at least one element
std::vector<std::int64_t> top_k(const Tensor& row, std::int64_t k);  // descending by value; all of them for a larger k

// Sums are taken in f64, in a fixed order. y and dy are [1].
extern KernelSlot<void(const Tensor& x, double s, Tensor& y)> sum_kernel;  // y = s·Σ x
extern KernelSlot<void(const Tensor& x, Tensor& y)> sum_sq_kernel;  // y = Σ x²
extern KernelSlot<void(const Tensor& dy, double s, Tensor& dx)> sum_backward_kernel;  // dx_i = s·dy
extern KernelSlot<void(const Tensor& x, const Tensor& dy, Tensor& dx)> sum_sq_backward_kernel;  // dx = 2·dy·x

}  // namespace sinter
