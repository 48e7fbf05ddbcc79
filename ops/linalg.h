#pragma once
#include <optional>
#include <span>

#include "core/tensor.h"

namespace sinter {

// Values only, no vjp; f32 or f64. Blocked over tiles whose bounds depend on n only: the same bits for any threads.
// Leaves of 32 columns are factored and inverted in f64. Arguments by value are worked on in place when they are the
// only owner of their storage.

// Upper R with a = R Rᵀ, the Cholesky factor taken from the last column to the first; nothing when a is not positive
// definite or not finite. a [n, n], of which what lies below the diagonal is read; there the result is zero.
std::optional<Tensor> upper_cholesky(Tensor a);

// The same in the place of a, with another diagonal: R on and above a's diagonal. Below it nothing changes, so that
// after a failure (false) the next attempt needs no copy.
bool upper_cholesky(Tensor& a, std::span<const double> diagonal);
void clear_below_diagonal(Tensor& a);

// Lower L with a = L Lᵀ.
std::optional<Tensor> cholesky(Tensor a);

// Inverse of a triangular matrix, which is zero on the other side of the diagonal.
Tensor inverse_upper(Tensor r);
Tensor inverse_lower(Tensor l);

// Upper U = R⁻¹ with a⁻¹ = Uᵀ U: one factorisation and one triangular inverse, no dense inverse. Nothing when a is not
// positive definite.
std::optional<Tensor> inverse_factor(Tensor a);

// gram += xᵀ x for x [T, n], gram [n, n] f32 or f64 as x; both triangles, bitwise symmetric when gram was.
void add_gram(Tensor& gram, const Tensor& x);

}  // namespace sinter
