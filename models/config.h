#pragma once
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "ops/gemm.h"

namespace sinter {

enum class Family { llama, opt };

// Rotary embedding: theta and how long contexts are scaled.
struct RopeConfig {
  enum class Kind { standard, linear, llama3 } kind = Kind::standard;
  double theta = 10000, factor = 1, low_freq_factor = 1, high_freq_factor = 4;
  std::int64_t original_positions = 8192;
};

// What config.json says of a LLaMA or OPT model, with Hugging Face's defaults for what it does not say.
struct ModelConfig {
  Family family = Family::llama;
  std::int64_t vocab = 0, hidden = 0, ffn = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t max_positions = 0;
  std::int64_t word_width = 0;  // of the embedding table; differs from hidden in OPT-350m only
  double norm_eps = 1e-5;
  Activation activation = Activation::silu;
  bool tied = false;  // the head is the embedding table
  bool attention_bias = false, mlp_bias = false;
  bool pre_norm = true;  // OPT-350m normalises after the residual
  bool final_norm = true;
  RopeConfig rope;
  std::int32_t bos = -1, pad = -1;  // -1: none
  std::vector<std::int32_t> eos;
  std::vector<std::int32_t> suppressed;  // never generated: suppress_tokens of generation_config.json
};

// Error(input) names `where` and the field: missing, of the wrong type, out of range, contradictory, or not supported.
ModelConfig parse_config(const Json&, std::string_view where);
// config.json, where generation_config.json's ids win; or the metadata of a GGUF file.
ModelConfig read_config(const std::filesystem::path& model);
Json read_config_json(const std::filesystem::path& model);  // config.json alone

// Rotary frequencies [head_dim / 2], rounded to f32 as Hugging Face rounds them.
std::vector<float> rope_frequencies(const ModelConfig&);

}  // namespace sinter
