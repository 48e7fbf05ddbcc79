#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/file.h"
#include "models/checkpoint.h"
#include "models/interchange/gguf.h"
#include "models/tokenizer.h"
#include "test/check.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"

namespace sinter::test {

// A byte-level tokenizer of a few letters, small enough for every golden model.
inline void write_letters(const std::filesystem::path& dir) {
  Json vocabulary = Json::object();
  for (char c = 'a'; c <= 'z'; ++c) vocabulary[std::string(1, c)] = vocabulary.size();
  vocabulary["th"] = 26;
  const Json tokenizer = {{"version", "1.0"},
                          {"added_tokens", {{{"id", 27}, {"content", "<s>"}, {"special", true}}}},
                          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                          {"decoder", {{"type", "ByteLevel"}}},
                          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"t h"}}}}};
  write_text_atomic(dir / "tokenizer.json", json_text(tokenizer));
}

// A copy of a golden model with that tokenizer.
inline void copy_golden(const std::string& name, const std::filesystem::path& to) {
  std::filesystem::copy(golden("models/" + name), to, std::filesystem::copy_options::recursive);
  write_letters(to);
}

// A LLaMA of random weights for a golden tokenizer: d = 64 with 4 heads over 2, f = 96, 2 layers.
inline void write_random_model(const std::filesystem::path& dir, const std::string& tokenizer, Json more = {}) {
  for (const char* file : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"})
    if (const auto from = golden("tokenizers/" + tokenizer) / file; std::filesystem::exists(from))
      std::filesystem::copy(from, dir / file);
  Json config = {{"model_type", "llama"},    {"vocab_size", Tokenizer::load(dir)->size()},
                 {"hidden_size", 64},        {"intermediate_size", 96},
                 {"num_hidden_layers", 2},   {"num_attention_heads", 4},
                 {"num_key_value_heads", 2}, {"max_position_embeddings", 64},
                 {"rms_norm_eps", 1e-5}};
  for (const auto& [key, value] : more.items()) config[key] = value;
  write_text_atomic(dir / "config.json", json_text(config));
  save_weights(*random_model(read_config(dir), 5), dir);
}

inline Tensor logits_of(const CausalLM& model, std::span<const std::int32_t> ids) {
  const Layout layout = Layout::one(std::int64_t(ids.size()));
  const Context ctx;
  return model.logits(ctx, model.run(ctx, model.enter(ctx, model.embed(ctx, ids), layout), model.all(), layout))
      .value();
}

}  // namespace sinter::test
