#pragma once
#include <optional>
#include "core/tensor.h"

namespace sinter {

// Values only, no vjp; f32 or f64. Blocked over tiles whose bounds depend on n only: the same bits for any threads.
// Diagonal tiles are factored and inverted in f64. Arguments by value are worked on in place when they are the only
// owner of their storage.

// Lower L with a = L Lᵀ (the lower triangle of a is read; the upper of the result is zero); nothing when a is not
// positive definite or not finite. a [n, n]
std::optional<Tensor> cholesky(Tensor a);

// Lower inverse of a lower triangular matrix.
Tensor inverse_lower(Tensor l);

// Upper U with a⁻¹ = Uᵀ U, by the flip: J a J = L Lᵀ, R = J L J is upper with a = R Rᵀ, U = R⁻¹. One factorisation and
// one triangular inverse, no dense inverse. Nothing when a is not positive definite.
std::optional<Tensor> inverse_factor(Tensor a);

// gram += xᵀ x for x [T, n], gram [n, n] f32 or f64 as x; both triangles, bitwise symmetric when gram was.
void add_gram(Tensor& gram, const Tensor& x);

}  // namespace sinter
