#pragma once
#include <string>
#include <vector>

#include "core/log.h"
#include "models/causal_lm.h"

namespace sinter {

// Folding adapters into the weights they were learned over.
struct MergeOptions {
  bool requantise = false;  // codes are rounded again, on new grids of the same bits and groups; else they are refused
  bool dense = false;  // or become plain weights of type `store`
  bool remask = false;  // what was zero becomes zero again (LoRA*)
  bool densify = false;  // a LoRA over a sparse weight may fill its zeros
  DType store = DType::f32;  // for weights that were codes
};

struct MergeReport {
  std::string name;
  double zeros_before = 0, zeros_after = 0;  // shares
  std::int64_t zeros = 0, kept = 0;  // zeros before, and those of them that are zero now
  std::int64_t created = 0;  // other weights that the stored type or the new codes round to zero
  double error = 0;  // ‖merged − stored‖² / ‖merged‖²: of the rounding to the stored type, or of new codes
};

// W + ΔW of every linear with an adapter, which is detached, in the linear's own storage format: dense and sparse values of
// its type, with the same mask where the weight is sparse. SPP keeps every zero bit for bit. New codes keep bits, groups,
// symmetry and act-order. Error(usage) naming the linear for what cannot be folded so, before anything changes;
// Error(numeric) for factors that are not finite.
std::vector<MergeReport> merge_adapters(CausalLM&, const MergeOptions&, LogSink&);

}  // namespace sinter
