#pragma once
#include "models/causal_lm.h"

namespace sinter {

// o[T, heads·head_dim] of one block: q, k are rotated already where the family rotates. With a cache, k and v of `layer`
// are appended to it and the queries see all that it holds.
Var attend(const Pass&, int layer, const ModelConfig&, const Var& q, const Var& k, const Var& v);

}  // namespace sinter
