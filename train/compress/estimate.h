#pragma once
#include <string>
#include <vector>

#include "train/compress/pipeline.h"
#include "train/compress/work.h"

namespace sinter {

// Facts of a compression that the plan does not hold.
struct EstimateInput {
  std::int64_t windows = 0, length = 0;  // none: no forward passes
  std::int64_t bits = 0, group = -1;  // of the grid; 0: results keep the source's type
  double base_bytes = 0;  // resident before the work begins
};

struct EstimatePhase {
  std::string name;
  double bytes = 0;  // resident at its peak, everything included
  double seconds = 0;  // of all blocks
};

// What a compression that streams its blocks will take, from shapes alone; f64, where a factorisation needs it, is not
// foreseen.
struct CompressEstimate {
  std::int64_t linears = 0, weights = 0;  // that will be compressed
  std::vector<EstimatePhase> phases;
  double compressed_bytes = 0, source_bytes = 0;  // of these linears, as they will be stored and as they are
  double hidden_bytes = 0;  // the hidden states of all windows, in memory or in each of two scratch files
  double peak_bytes() const;
  double seconds() const;
};
CompressEstimate estimate_compression(CausalLM&, const CompressPlan&, const EstimateInput&, const Rates&);

// This machine's rates, measured within about two seconds: a product with a frozen bf16 weight, a factorisation, and
// the plan's own method on a small layer.
Rates measure_rates(const CausalLM&, const CompressPlan&);

}  // namespace sinter
