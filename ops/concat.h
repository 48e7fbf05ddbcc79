#pragma once
#include <span>
#include "core/tape.h"

namespace sinter {

// [a; b; ...] along the rows, all [., d]. The same Var may occur several times (a soft prompt before each sequence).
Var concat_rows(std::span<const Var> parts);

// Rows begin..end of x, differentiable.
Var slice_rows(const Var& x, std::int64_t begin, std::int64_t end);

}  // namespace sinter
