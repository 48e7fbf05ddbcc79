#pragma once
#include "apps/compress_flags.h"
#include "models/causal_lm.h"

namespace sinter {

// What a compression is expected to take. From the shapes alone, and a short measurement of this machine's products.
struct CompressPhase {
  std::string name;
  double bytes = 0, seconds = 0;  // bytes are held at the same time as those of the other phases
};
struct CompressEstimate {
  std::int64_t linears = 0, weights = 0;  // that would be compressed
  std::vector<CompressPhase> phases;
  double output_bytes = 0, flops_per_second = 0;
};

// `solves`: the method factors Gram matrices. No windows: no forward passes.
CompressEstimate estimate_compression(CausalLM&, const CompressFlags&, bool solves, std::int64_t windows,
                                      std::int64_t length, std::uint64_t bytes_on_disk);
void print_estimate(std::ostream&, const CompressEstimate&);
Json estimate_json(const CompressEstimate&);

}  // namespace sinter
