#pragma once
#include "core/view.h"

namespace sinter {

// A matrix x [k, n] in panels of kPanelCols columns, each a small matrix of its own that stays in cache: element (p, j)
// stands at (j / kPanelCols)·k·kPanelCols + p·kPanelCols + j % kPanelCols. The last panel is as large as the others.
inline constexpr std::int64_t kPanelCols = 128;
inline std::int64_t panels_of(std::int64_t n) { return (n + kPanelCols - 1) / kPanelCols; }

// Row-major x [k, n] -> panels.
template <class T>
void pack_panels(const ConstView& x, T* panels);

// c[i, j] += Σ_p x[p, i]·x[p, j] for i <= j, half the operations of the full product; what lies below the diagonal is not
// touched, or with `mirror` becomes a copy of what lies above. Tiles depend on the shape only.
template <class T>
void add_outer_sum(T* c, std::int64_t ldc, std::int64_t n, const T* panels, std::int64_t k, bool mirror);

}  // namespace sinter
