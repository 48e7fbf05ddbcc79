#pragma once
#include "apps/compress_flags.h"
#include "train/compress/estimate.h"

namespace sinter {

std::int64_t resident_bytes();  // of this process, now

// The estimate of the plan. With a limit (bytes), first changes the plan to what costs least time and obeys it: hidden
// states in files under `scratch`, then statistics of one stage at a time; what was chosen is noted. Error(usage) where
// nothing does.
CompressEstimate fit_plan(CausalLM&, CompressPlan&, const EstimateInput&, const Rates&, std::optional<double> limit,
                          const std::filesystem::path& scratch, LogSink&);

void print_estimate(std::ostream&, const CompressEstimate&, const Rates&, double output_bytes);
Json estimate_json(const CompressEstimate&, const Rates&, double output_bytes);

}  // namespace sinter
