#pragma once
#include "core/kernel_slot.h"
#include "core/tape.h"
#include "ops/frozen_weight.h"

// SPP (Lu et al., ICML 2024, arXiv 2405.16057): trainable factors on the rows and columns of a frozen W [m, n],
//   W'_ic = W_ic · α_jc · β_i,   j = floor(i / q), q = m / r;   α [r, n], β [m]
// A zero of W stays a zero of W'. Neither W' nor a gradient of W's size is ever formed.
namespace sinter {

// s·x·W'ᵀ [T, m], equation 7, by r products with the rows R_j of W: Z_R = (x ∘ α_j) W_Rᵀ, y = s·Z ∘ β.
// Error(usage) when r does not divide m.
Var spp(const Var& x, FrozenWeightPtr w, const Var& alpha, const Var& beta, double s, Compute = Compute::f32);

// x·(W + s·W')ᵀ + bias [T, m] as one product: a strip of W is expanded, scaled, multiplied and forgotten. The same as
// apply() bit for bit while β is zero. bias may be empty.
Var spp_linear(const Var& x, FrozenWeightPtr w, Tensor bias, const Var& alpha, const Var& beta, double s,
               Compute = Compute::f32);

void check_spp(std::string_view where, const FrozenWeight& w, const Tensor& alpha, const Tensor& beta);

// y = gain·x ∘ a_j, or y += that; a_j is row j of a, of as many values as x has columns.
extern KernelSlot<void(const ConstView& x, const Tensor& a, std::int64_t j, double gain, bool add, const View& y)>
    scale_columns_kernel;
// Row j of out: gain·Σ_t a_t ∘ b_t, in the order of t.
extern KernelSlot<void(const ConstView& a, const ConstView& b, double gain, std::int64_t j, Tensor& out)>
    column_dot_kernel;
// Rows first.. of W, w [k, n], become those of W + s·W'.
extern KernelSlot<void(Tensor& w, std::int64_t first, const Tensor& alpha, const Tensor& beta, double s)>
    spp_strip_kernel;
// For rows first.. of W and of D = dyᵀ·x:  dα_jc += s·Σ_i β_i W_ic D_ic,  dβ_i = s·Σ_c α_jc W_ic D_ic
extern KernelSlot<void(const Tensor& w, const Tensor& d, std::int64_t first, const Tensor& alpha, const Tensor& beta,
                       double s, Tensor& dalpha, Tensor& dbeta)>
    spp_contract_kernel;

}  // namespace sinter
