#pragma once
#include "models/causal_lm.h"

namespace sinter {

// A model of that shape without weights: names and shapes of its linears are there, a product is Error(unsupported). For
// counting what a real one would need, at any size.
std::unique_ptr<CausalLM> shape_model(const ModelConfig&);

}  // namespace sinter
