#pragma once
#include "train/compress/grid.h"
#include "train/compress/method.h"

namespace sinter {

// What every method ends with: rounds an unquantised result to the problem's store type, counts zeros and bits, measures
// the error.
LayerResult make_result(const LayerProblem&, Tensor dense, const std::optional<GridRule>& quantised);

// Codes [m, n] on a grid with f32 scales. order: act-order of the columns, or empty.
PackedInt pack_grid(const Tensor& codes, const Grid&, int bits, std::span<const std::int64_t> order = {});

// ‖(W − Ŵ) X‖² / ‖W X‖² = tr(D H Dᵀ) / tr(W H Wᵀ), D = W − Ŵ, with H what the statistics know of 2 XXᵀ / N: all of it, its
// diagonal, or (without statistics) the unit matrix.
double output_error(const Tensor& w, const Tensor& compressed, const LayerStats*);

// bits, group, sym, mse.
GridRule read_grid_rule(MethodOptions&, std::string_view method);

}  // namespace sinter
