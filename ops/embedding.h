#pragma once
#include <span>

#include "core/kernel_slot.h"
#include "core/tape.h"

namespace sinter {

// y[n, d] = table[ids];  table [V, d]. Its vjp adds rows in the order of ids: deterministic.
// An id outside 0..V-1 is Error(usage).
Var embedding(const Var& table, std::span<const std::int32_t> ids);

// ids lie on the host and are checked. Backward: dtable, all of it, = Σ_t dy[t] on row ids[t].
extern KernelSlot<void(const Tensor& table, std::span<const std::int32_t> ids, Tensor& y)> embedding_kernel;
extern KernelSlot<void(std::span<const std::int32_t> ids, const Tensor& dy, Tensor& dtable)> embedding_backward_kernel;

}  // namespace sinter
