#include "apps/targets.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "models/checkpoint.h"
#include "models/interchange/gguf.h"
#include "models/interchange/hf_export_config.h"

namespace sinter {
namespace {

constexpr const char* kAsItIs = "as it is";

void limit(TargetChoice& c, Verdict v, std::string reason) {
  c.verdict = std::max(c.verdict, v);
  c.reasons.push_back(std::move(reason));
}

std::string of_linears(const std::vector<GridFacts>& linears, const std::vector<const GridFacts*>& some) {
  return std::to_string(some.size()) + " of " + std::to_string(linears.size()) + " linears (" + some[0]->name +
         (some.size() > 1 ? ", ...)" : ")");
}

// Appends a reason when some linear on a grid fits the condition; it names the first and their number.
template <class F>
void limit_where(TargetChoice& c, const TargetFacts& f, Verdict v, const std::string& reason, F condition) {
  std::vector<const GridFacts*> some;
  for (const auto& l : f.linears)
    if (l.on_grid && condition(l)) some.push_back(&l);
  if (!some.empty()) limit(c, v, reason + ": " + of_linears(f.linears, some));
}

bool short_group(const GridFacts& l) { return l.group > 0 && l.in % l.group != 0; }
bool usual_group(const GridFacts& l) { return l.group < 0 || l.group == 32 || l.group == 64 || l.group == 128; }

// vLLM's kernels for integer weights, as GPTQ or AWQ (`classic`), or as compressed-tensors.
void check_vllm_kernels(TargetChoice& c, const TargetFacts& f, bool classic) {
  limit_where(c, f, classic ? Verdict::no : Verdict::limited,
              classic ? "its kernels for this format take 4 and 8 bits only"
                      : "2 and 3 bits run through its newest kernels only",
              [](const GridFacts& l) { return l.bits < 4; });
  limit_where(c, f, Verdict::no, "groups must have 32, 64 or 128 columns, or the whole row",
              [](const GridFacts& l) { return !usual_group(l); });
  limit_where(c, f, Verdict::no, "a row must be a whole number of groups", short_group);
  limit_where(c, f, Verdict::limited, "the fast Marlin kernels need inputs in multiples of 128 and outputs of 64",
              [](const GridFacts& l) { return l.in % 128 != 0 || l.out % 64 != 0; });
  limit_where(c, f, Verdict::yes, "Machete kernels (Hopper) take groups of 128 or whole rows only; others are used",
              [](const GridFacts& l) { return l.group > 0 && l.group != 128; });
}

bool asymmetric(const TargetFacts& f) {
  return std::ranges::any_of(f.linears, [](const GridFacts& l) { return l.on_grid && !l.symmetric; });
}

TargetChoice as_it_is(const std::string& target, const TargetFacts& f) {
  TargetChoice c{kAsItIs, Verdict::yes, {}, {}};
  if (f.gguf) {
    if (target == "llama.cpp") return c;
    limit(c, Verdict::limited, "GGUF is read slowly or in part; export it");
    return c;
  }
  if (target == "llama.cpp") {
    limit(c, Verdict::no, "llama.cpp reads GGUF only");
    return c;
  }
  if (f.method == "sinter") limit(c, Verdict::no, "its weights are in a format of sinter's own");
  else if (f.foreign && f.method.empty()) limit(c, Verdict::no, "config.json does not say how it is quantised");
  else if (f.method == "gptq" || f.method == "awq") {
    if (target == "vllm") check_vllm_kernels(c, f, true);
    else limit(c, Verdict::yes, "transformers needs the packages gptqmodel and optimum for it");
  } else if (f.method == "compressed-tensors") {
    if (target == "vllm") check_vllm_kernels(c, f, false);
    else limit(c, Verdict::yes, "transformers needs the package compressed-tensors for it");
  }
  return c;
}

TargetChoice gptq(const std::string& target, const TargetFacts& f) {
  TargetChoice c{"gptq", Verdict::yes, {}, {}};
  if (const auto obstacle = export_obstacle(f.linears, ExportFormat::gptq); !obstacle.empty()) {
    limit(c, Verdict::no, obstacle);
    return c;
  }
  if (target == "vllm") check_vllm_kernels(c, f, true);
  else limit_where(c, f, Verdict::limited, "GPTQModel reads a short last group, AutoGPTQ does not", short_group);
  if (target == "transformers") {
    limit(c, Verdict::yes, "needs the packages gptqmodel and optimum");
    std::vector<std::string> notes;
    if (announce_gptq(f.linears, 1, notes).contains("dynamic"))
      limit(c, Verdict::no, "it does not read the field dynamic, which names the linears that differ from the others");
  }
  if (asymmetric(f))
    limit(c, Verdict::limited,
          target == "vllm" ? "asymmetric grids are GPTQ version 2, which vLLM reads since its pull request 26092"
                           : "asymmetric grids are GPTQ version 2, which GPTQModel reads and AutoGPTQ does not");
  limit_where(c, f, Verdict::limited, "scales are rounded to f16", [](const GridFacts& l) { return !l.half_scales; });
  return c;
}

TargetChoice compressed(const std::string& target, const TargetFacts& f) {
  TargetChoice c{"compressed-tensors", Verdict::yes, {}, {}};
  if (const auto obstacle = export_obstacle(f.linears, ExportFormat::compressed_tensors); !obstacle.empty()) {
    limit(c, Verdict::no, obstacle);
    return c;
  }
  if (target == "vllm") check_vllm_kernels(c, f, false);
  else limit(c, Verdict::yes, "needs the package compressed-tensors");
  if (target == "transformers")
    limit_where(c, f, Verdict::no, "asymmetric grids do not load (tried: transformers 5.23, compressed-tensors 0.20)",
                [](const GridFacts& l) { return !l.symmetric; });
  limit_where(c, f, Verdict::limited, "3 bits need compressed-tensors 0.17 or later",
              [](const GridFacts& l) { return l.bits == 3; });
  return c;
}

TargetChoice dense(const TargetFacts& f) {
  TargetChoice c{"dense", Verdict::yes, {}, {}};
  limit_where(c, f, Verdict::yes, "codes become floats, with their memory and speed",
              [](const GridFacts&) { return true; });
  if (std::ranges::any_of(f.linears, &GridFacts::sparse))
    limit(c, Verdict::yes, "zeros stay exact, but take the memory and time of other weights");
  return c;
}

// The type that write_gguf gives a linear by itself: "" where that rounds.
std::string exact_type(const GridFacts& l) {
  if (!l.on_grid) return "as floats";
  if (!l.half_scales || l.act_order || l.in % 32 != 0 || (l.group > 0 && l.group % 32 != 0)) return "";
  if (l.bits < 4 || (l.bits == 4 && l.symmetric)) return "Q4_0";
  return l.bits == 4 || l.symmetric ? "Q8_0" : "";
}

TargetChoice gguf(const TargetFacts& f) {
  TargetChoice c{"gguf", Verdict::yes, {}, {}};
  if (!f.gguf_obstacle.empty()) {
    limit(c, Verdict::no, f.gguf_obstacle);
    return c;
  }
  std::map<std::string, int> types;
  for (const auto& l : f.linears) ++types[exact_type(l)];
  for (const auto& [type, count] : types)
    if (!type.empty()) limit(c, Verdict::yes, std::to_string(count) + " linears are exact as " + type);
  limit_where(
      c, f, Verdict::limited,
      "rounded: neither Q4_0 nor Q8_0 holds the codes (groups of 32, no act-order, symmetric at 8 bits, f16 scales)",
      [](const GridFacts& l) { return exact_type(l).empty(); });
  return c;
}

const char* name_of(Verdict v) { return v == Verdict::yes ? "yes" : v == Verdict::limited ? "limited" : "no"; }

// The first choice with the best verdict.
const TargetChoice& best_of(const std::vector<TargetChoice>& choices) {
  return *std::ranges::min_element(choices, {}, &TargetChoice::verdict);
}

}  // namespace

TargetFacts target_facts(CausalLM& model, const std::string& path) {
  TargetFacts f{path, grid_facts(model), {}, false, is_gguf(path), {}};
  if (!f.gguf) {
    const Json config = read_json(std::filesystem::path(path) / "config.json");
    const JsonFields fields(path + "/config.json", config);
    if (fields.has("quantization_config"))
      f.method = fields.object("quantization_config").text_or("quant_method", "gptq");
    f.foreign = !Checkpoint(path).foreign_parts().empty();
  }
  try {
    check_gguf(model.config(), path);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unsupported) throw;
    f.gguf_obstacle = e.what();
  }
  return f;
}

std::vector<TargetChoice> choices_for(const std::string& target, const TargetFacts& f) {
  std::vector<TargetChoice> choices = {as_it_is(target, f)};
  if (target == "llama.cpp") {
    choices.push_back(gguf(f));
  } else {
    choices.push_back(compressed(target, f));
    choices.push_back(gptq(target, f));
    choices.push_back(dense(f));
  }
  for (auto& c : choices)
    if (c.format != kAsItIs && c.verdict != Verdict::no)
      c.command =
          "sinter export " + f.path + " --to " + c.format + " --out " + (c.format == "gguf" ? "OUT.gguf" : "OUT");
  return choices;
}

std::string describe_choices(const std::string& target, const std::vector<TargetChoice>& choices) {
  std::string text = "for " + target + ":\n";
  for (const auto& c : choices) {
    const std::string head = "  " + c.format + std::string(20 - c.format.size(), ' ') + name_of(c.verdict);
    text += head + (c.reasons.empty() ? "" : std::string(31 - head.size(), ' ') + c.reasons[0]) + "\n";
    for (std::size_t i = 1; i < c.reasons.size(); ++i) text += std::string(31, ' ') + c.reasons[i] + "\n";
  }
  const TargetChoice& best = best_of(choices);
  if (best.verdict == Verdict::no) return text + "no way to " + target + "\n";
  return text + "use: " + (best.command.empty() ? "the model as it is" : best.command) + "\n";
}

Json choices_json(const std::string& target, const std::vector<TargetChoice>& choices) {
  Json list = Json::array();
  for (const auto& c : choices)
    list.push_back(
        {{"format", c.format}, {"verdict", name_of(c.verdict)}, {"reasons", c.reasons}, {"command", c.command}});
  const TargetChoice& best = best_of(choices);
  return {{"name", target},
          {"accepted", best.verdict != Verdict::no},
          {"use", best.verdict == Verdict::no ? "" : best.format},
          {"command", best.command},
          {"choices", list}};
}

}  // namespace sinter
