#pragma once
#include "models/causal_lm.h"
#include "models/tensor_source.h"

namespace sinter {

// LLaMA-1/2/3 (Touvron et al. 2023): RMSNorm before, rotary positions, grouped-query attention, gated SiLU.
std::unique_ptr<CausalLM> make_llama(const ModelConfig&, TensorSource&);

}  // namespace sinter
