#pragma once
#include "train/adapt.h"

namespace sinter {

// Adapters on disk: a directory with adapter_config.json and adapter_model.safetensors, PEFT's layout for LoRA and ours
// for SPP (docs/formats.md). target_modules are ends of names, or whole names where those would match more.
struct AdapterFacts {
  std::string base_model;
  std::map<std::string, std::string> extra;  // metadata "sinter.<key>"
};
void save_adapter(const std::filesystem::path& dir, CausalLM&, const AdapterPlan&, const AdapterFacts&);

// Attaches what the directory holds, with dropout off; PEFT's LoRA files of older versions too (adapter_model.bin, other
// spellings of names). Error(input) names file, field or tensor, before the model is touched: a shape that does not fit,
// a tensor without a linear, trained biases, modules_to_save, DoRA and whatever else is more than LoRA, other kinds.
void load_adapter(const std::filesystem::path& dir, CausalLM&);

}  // namespace sinter
