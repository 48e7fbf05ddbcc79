#include "apps/compress_plan.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/parts.h"
#include "core/file.h"

namespace sinter {

std::int64_t resident_bytes() {
  long long all = 0, resident = 0;
  const std::string text = read_text("/proc/self/statm");
  if (std::sscanf(text.c_str(), "%lld %lld", &all, &resident) != 2) return 0;
  return resident * ::sysconf(_SC_PAGESIZE);
}

CompressEstimate fit_plan(CausalLM& model, CompressPlan& plan, const EstimateInput& in, const Rates& rates,
                          std::optional<double> limit, const std::filesystem::path& scratch, LogSink& log) {
  CompressEstimate e = estimate_compression(model, plan, in, rates);
  const auto fits = [&] { return !limit || e.peak_bytes() <= *limit; };
  if (!fits() && plan.scratch.empty() && e.hidden_bytes > 0) {
    plan.scratch = scratch;
    e = estimate_compression(model, plan, in, rates);
    log.note("--max-memory: the hidden states go to files, " + human_bytes(2 * e.hidden_bytes) + " in " +
             scratch.string());
  }
  if (!fits() && !plan.true_sequential) {
    plan.one_stage = true;
    e = estimate_compression(model, plan, in, rates);
    log.note("--max-memory: the statistics of one stage at a time, which takes more forward passes");
  }
  if (fits()) return e;
  std::string needs;
  for (const auto& p : e.phases)
    if (p.bytes > *limit) needs += (needs.empty() ? "" : ", ") + p.name + " " + human_bytes(p.bytes);
  const bool passes = e.phases[0].bytes > *limit && in.windows > 0;
  fail(ErrorCode::usage, "--max-memory", human_bytes(*limit),
       " is too little even with hidden states in files and one "
       "Gram matrix at a time: ",
       needs, passes ? "; a shorter --seq-len takes less" : "; --only takes fewer linears");
}

void print_estimate(std::ostream& out, const CompressEstimate& e, const Rates& rates, double output_bytes) {
  const auto gflops = [](double rate) { return fixed(rate / 1e9, 1); };
  out << e.linears << " linears with " << e.weights << " weights would be compressed, from "
      << human_bytes(e.source_bytes) << " to about " << human_bytes(e.compressed_bytes) << "\n"
      << "this machine: products " << gflops(rates.product) << ", factorisations " << gflops(rates.factor)
      << ", sweeps " << gflops(rates.sweep) << " GFLOP/s\n"
      << "phase" << std::string(40, ' ') << "memory        time\n";
  for (const auto& p : e.phases) {
    char row[160];
    std::snprintf(row, sizeof row, "%-38s %12s %9.1f s\n", p.name.c_str(), human_bytes(p.bytes).c_str(), p.seconds);
    out << row;
  }
  out << "at most " << human_bytes(e.peak_bytes()) << " of memory at once, about " << fixed(e.seconds(), 1)
      << " s and the time to read and write the files, " << human_bytes(output_bytes) << " on disk";
  if (e.hidden_bytes > 0) out << "; hidden states " << human_bytes(e.hidden_bytes);
  out << "\n";
}

Json estimate_json(const CompressEstimate& e, const Rates& rates, double output_bytes) {
  Json phases = Json::array();
  for (const auto& p : e.phases) phases.push_back({{"phase", p.name}, {"bytes", p.bytes}, {"seconds", p.seconds}});
  return {{"linears", e.linears},
          {"weights", e.weights},
          {"flops_per_second", {{"product", rates.product}, {"factor", rates.factor}, {"sweep", rates.sweep}}},
          {"phases", phases},
          {"memory_bytes", e.peak_bytes()},
          {"hidden_bytes", e.hidden_bytes},
          {"seconds", e.seconds()},
          {"output_bytes", output_bytes}};
}

}  // namespace sinter
