// sinter bench: rates of the engine beside the machine's limits, measured in the same run.
#include "apps/bench.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/parts.h"

namespace sinter {
namespace {

std::string padded(std::string text, std::size_t width, bool left = true) {
  if (text.size() < width) text.insert(left ? text.size() : 0, width - text.size(), ' ');
  return text;
}

class Bench final : public Command {
 public:
  void declare(Flags& f) override {
    f.option("--what", "LIST", &what_, "What to measure, separated by commas (default: all; see --list)");
    f.flag("--list", list_, "Say what can be measured, and stop");
  }

  Json run(Session& s) override {
    if (list_) return list(s);
    const auto chosen = choose();
    const bench::Machine machine;
    Json rows = Json::array();
    s.out << padded("what", 19) << padded("shape", 44) << padded("rate", 9, false) << padded("limit", 9, false)
          << "  unit      share\n";
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      s.log.progress(
          {.stage = "bench", .done = std::int64_t(i), .total = std::int64_t(chosen.size()), .unit = "benchmarks"});
      for (const auto& row : chosen[i]->run(s.log)) rows.push_back(print(s, row));
    }
    return {{"machine", machine.facts()}, {"rows", rows}};
  }

 private:
  Json list(Session& s) const {
    Json names = Json::array();
    for (const auto& c : bench::cases()) {
      s.out << padded(std::string(c.what), 19) << c.summary << "\n";
      names.push_back(c.what);
    }
    return {{"what", names}};
  }

  std::vector<const bench::Case*> choose() const {
    std::vector<const bench::Case*> chosen;
    std::vector<std::string> names;
    for (const auto& c : bench::cases()) {
      names.emplace_back(c.what);
      if (!what_) chosen.push_back(&c);
    }
    for (std::size_t at = 0; what_ && at <= what_->size();) {
      const std::size_t comma = std::min(what_->find(',', at), what_->size());
      const std::string name = what_->substr(at, comma - at);
      const auto it = std::ranges::find(bench::cases(), name, &bench::Case::what);
      const std::string near = nearest_word(name, names);
      require(it != bench::cases().end(), ErrorCode::usage, "--what", "no benchmark \"", name, "\"",
              near.empty() ? "" : "; did you mean " + near + "?", " (see sinter bench --list)");
      chosen.push_back(&*it);
      at = comma + 1;
    }
    return chosen;
  }

  static Json print(Session& s, const bench::Row& r) {
    const Json limit = r.limit ? Json(*r.limit) : Json(nullptr),
               share = r.limit ? Json(r.rate() / *r.limit) : Json(nullptr);
    s.out << padded(std::string(r.what), 19) << padded(r.shape, 44) << padded(fixed(r.rate(), 1), 9, false)
          << padded(r.limit ? fixed(*r.limit, 1) : "-", 9, false) << "  " << padded(std::string(r.unit), 8)
          << padded(r.limit ? fixed(100 * r.rate() / *r.limit, 0) + " %" : "-", 7, false) << std::endl;
    return {{"what", r.what}, {"shape", r.shape}, {"rate", r.rate()},    {"unit", r.unit},
            {"limit", limit}, {"share", share},   {"seconds", r.seconds}};
  }

  std::optional<std::string> what_;
  bool list_ = false;
};

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<Bench>(); }

namespace bench {

std::span<const Case> cases() {
  static constexpr Case kCases[] = {
      {"gemm_f32", "y = x W' and dx = dy W; limit: OpenBLAS's own threads on the same product", gemm_f32},
      {"decode_f32", "weight bytes per second of one-token steps of a 110M LLaMA; limit: reading memory", decode_f32},
      {"decode_bf16", "the same of a 1.1B LLaMA in bf16, in f32 and in bf16 arithmetic", decode_bf16},
      {"decode_int8", "with codes of 8 bits in groups of 128, head too", decode_int8},
      {"decode_int4", "of 4 bits, head of 8", decode_int4},
      {"decode_int3", "of 3 bits, head of 8", decode_int3},
      {"decode_int2", "of 2 bits, head of 8", decode_int2},
      {"decode_2of4_bf16", "2:4 with bf16 values, head bf16", decode_2of4_bf16},
      {"decode_bitmap_int4", "half of the weights, 4 bits each, head of 8", decode_bitmap_int4},
      {"prompt_step", "a step of prompt learning on that model; limit: OpenBLAS on its products alone", prompt_step},
      {"solve_sparsegpt", "pruning a layer to 50 %, statistics given; limit: the engine's own f32 product",
       solve_sparsegpt},
      {"solve_gptq", "quantising a layer to 4 bits, statistics given; limit: the same", solve_gptq},
      {"hessian", "adding the second moments of 2048 tokens; limit: the same", hessian},
      {"attention", "causal attention, forward and with backward; limit: OpenBLAS, 2048 x 2048 x 2048", attention_f32},
  };
  return kCases;
}

}  // namespace bench
}  // namespace sinter
