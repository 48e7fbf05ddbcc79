#pragma once
#include "core/tape.h"
#include "ops/gemm.h"

namespace sinter {

// y[T, out] = x[T, in] · w[out, in]ᵀ, both operands differentiable (thawed weights, adapters).
Var linear(const Var& x, const Var& w, Compute = Compute::f32);

}  // namespace sinter
