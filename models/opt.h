#pragma once
#include "models/causal_lm.h"
#include "models/tensor_source.h"

namespace sinter {

// OPT (Zhang et al. 2022): learned positions (the table starts two rows late), LayerNorm, ReLU, biases, tied head.
// OPT-350m normalises after each residual and has narrower word vectors with project_in and project_out.
std::unique_ptr<CausalLM> make_opt(const ModelConfig&, TensorSource&);

}  // namespace sinter
