#pragma once
#include <set>
#include <string>

#include "models/causal_lm.h"

// What can be said of a frozen model by looking at its tensors.
namespace sinter {

std::string format_of(const Packed&);  // "bf16", "int4 group 128 act-order"
double zero_share(const FrozenWeight&);  // of all weights; rows are expanded a strip at a time
std::int64_t parameters_of(CausalLM&);
std::set<std::string> used_tensors(CausalLM&);  // names in the checkpoint that the model reads
std::int64_t first_unsound(const Tensor&);  // place of the first value that is not finite, or -1

}  // namespace sinter
