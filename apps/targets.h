#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "core/json.h"
#include "models/interchange/hf_export.h"

// What other programs accept of a model, said before anything is written.
namespace sinter {

enum class Verdict { yes, limited, no };  // limited: it runs, in some versions, or not as one would hope

struct TargetChoice {
  std::string format;  // "as it is", or what export --to takes
  Verdict verdict = Verdict::yes;
  std::vector<std::string> reasons;  // why not, or what to know
  std::string command;  // that makes it; empty for "as it is" and for what is not accepted
};

struct TargetFacts {
  std::string path;
  std::vector<GridFacts> linears;
  std::string method;  // quant_method of config.json; empty when there is none
  bool foreign = false;  // stored in another quantiser's format
  bool gguf = false;  // a GGUF file
  std::string gguf_obstacle;  // why llama.cpp has no place for the model
};
TargetFacts target_facts(CausalLM&, const std::string& path);

// target: "transformers", "vllm" or "llama.cpp".
std::vector<TargetChoice> choices_for(const std::string& target, const TargetFacts&);

// The choices as text, the first good one by name; and the same as JSON.
std::string describe_choices(const std::string& target, const std::vector<TargetChoice>&);
Json choices_json(const std::string& target, const std::vector<TargetChoice>&);

}  // namespace sinter
