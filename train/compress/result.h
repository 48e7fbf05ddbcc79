#pragma once
#include "train/compress/grid.h"
#include "train/compress/method.h"

namespace sinter {

// What every method ends with: rounds an unquantised result to the problem's store type, counts zeros, measures the
// error. lost: tr(D H Dᵀ) before that rounding, where it is known; the rounding's own share, Σ δ_ij² H_jj with δ
// independent of D, is added to it. Without `lost`, and where that share is more than a hundredth of it, the trace is
// computed.
LayerResult make_result(const LayerProblem&, Tensor dense, bool quantised, std::optional<double> lost = std::nullopt);

// Codes [m, n] on a grid of f32 scales, stored as f16 where that holds all of them exactly. order: act-order of the
// columns, or empty.
PackedInt pack_grid(const Tensor& codes, const Grid&, int bits, std::span<const std::int64_t> order = {});

// ‖(W − Ŵ) X‖² / ‖W X‖² = tr(D H Dᵀ) / tr(W H Wᵀ), D = W − Ŵ, with H what the statistics know of 2 XXᵀ / N: all of it, its
// diagonal, or (without statistics) the unit matrix.
double output_error(const Tensor& w, const Tensor& compressed, const LayerStats*);

// bits, group, sym, mse, scale32, min_zero, half_sym.
GridRule read_grid_rule(MethodOptions&, std::string_view method);

}  // namespace sinter
