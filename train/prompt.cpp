#include "train/prompt.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "core/fnv.h"
#include "models/tensor_store.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

Json adapter_config(const Tensor& prompt, const ModelConfig& c, const std::string& base) {
  return {{"peft_type", "PROMPT_TUNING"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base},
          {"revision", nullptr},
          {"inference_mode", true},
          {"auto_mapping", nullptr},
          {"num_virtual_tokens", prompt.shape()[0]},
          {"token_dim", prompt.shape()[1]},
          {"num_transformer_submodules", 1},
          {"num_attention_heads", c.heads},
          {"num_layers", c.layers},
          {"prompt_tuning_init", "RANDOM"},
          {"prompt_tuning_init_text", nullptr},
          {"tokenizer_name_or_path", nullptr},
          {"tokenizer_kwargs", nullptr}};
}

Tensor rows_of(const CausalLM& model, const std::vector<std::int32_t>& ids) {
  return model.embed(Context{}, ids).value().clone();
}

}  // namespace

std::string tokenizer_fingerprint(const Tokenizer& t) {
  Fnv64 hash;
  for (std::int64_t i = 0; i < t.size(); ++i) {
    hash.add(t.piece(std::int32_t(i)));
    hash.add("\xff");
  }
  return hash.hex();
}

Tensor random_prompt(const CausalLM& model, std::int64_t k, Rng rng) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < k; ++i)
    ids.push_back(std::int32_t(rng.below(std::uint64_t(i), std::uint64_t(model.config().vocab))));
  return rows_of(model, ids);
}

Tensor first_prompt(const CausalLM& model, std::int64_t k) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < k; ++i) ids.push_back(std::int32_t(i % model.config().vocab));
  return rows_of(model, ids);
}

Tensor text_prompt(const CausalLM& model, const Tokenizer& tokenizer, std::int64_t k, std::string_view text) {
  const auto given = tokenizer.encode(text, false);
  require(!given.empty(), ErrorCode::usage, "--init text", "the text has no tokens");
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < k; ++i) ids.push_back(given[std::size_t(i) % given.size()]);
  return rows_of(model, ids);
}

double prompt_validation(const CausalLM& model, const Windows& windows, const Tensor& prompt, Compute compute) {
  return mean_nll(model, examples_of(windows), prompt, compute);
}

void save_prompt(const fs::path& path, const Tensor& prompt, const CausalLM& model, const Tokenizer& tokenizer,
                 const PromptFacts& facts) {
  const ModelConfig& c = model.config();
  std::map<std::string, std::string> meta{{"sinter.tokens", std::to_string(prompt.shape()[0])},
                                          {"sinter.word_width", std::to_string(prompt.shape()[1])},
                                          {"sinter.model_type", c.family == Family::llama ? "llama" : "opt"},
                                          {"sinter.tokenizer", tokenizer_fingerprint(tokenizer)},
                                          {"sinter.base_model", facts.base_model}};
  for (const auto& [key, value] : facts.extra) meta["sinter." + key] = value;
  const NamedTensors tensors{{"prompt_embeddings", prompt}};
  if (path.extension() == ".safetensors") return write_tensors(path, tensors, meta);
  AtomicDirectory dir(path);
  write_tensors(dir.path() / "adapter_model.safetensors", tensors, meta);
  write_text_atomic(dir.path() / "adapter_config.json", json_text(adapter_config(prompt, c, facts.base_model)));
  dir.commit();
}

namespace {

// P.safetensors; a PEFT directory, whose tensors may be in a .bin; or, as the authors of the paper save it, the
// nn.Embedding itself in soft_prompt.model.
fs::path prompt_file(const fs::path& path) {
  if (!fs::is_directory(path)) return path;
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin", "soft_prompt.model"})
    if (fs::exists(path / name)) return path / name;
  fail(ErrorCode::input, path.string(), "holds no adapter_model.safetensors, adapter_model.bin or soft_prompt.model");
}

struct StoredPrompt {
  std::string name;
  Tensor rows;
  std::map<std::string, std::string> metadata;
};
StoredPrompt read_prompt(const fs::path& file) {
  constexpr const char* kName = "prompt_embeddings";
  if (file.extension() != ".bin" && file.extension() != ".model") {
    const TensorFile from(file);
    return {kName, from.tensor(kName), from.metadata()};
  }
  const auto from = open_bin(file);
  const std::string name = from->has("weight") ? "weight" : kName;
  return {name, from->tensor(name), {}};
}

}  // namespace

std::map<std::string, std::string> prompt_facts(const fs::path& path) {
  constexpr std::string_view kBegin = "sinter.";
  std::map<std::string, std::string> facts;
  for (const auto& [key, value] : read_prompt(prompt_file(path)).metadata)
    if (key.starts_with(kBegin)) facts[key.substr(kBegin.size())] = value;
  return facts;
}

Tensor load_prompt(const fs::path& path, const ModelConfig& model, const Tokenizer& tokenizer) {
  std::optional<std::int64_t> rows;
  if (const auto config = path / "adapter_config.json"; fs::exists(config)) {
    const Json json = read_json(config);
    const JsonFields f(config.string(), json);
    if (f.text("peft_type") != "PROMPT_TUNING") f.refuse("peft_type", "PROMPT_TUNING");
    if (json.contains("num_virtual_tokens")) rows = f.integer("num_virtual_tokens", 1, std::int64_t(1) << 20);
  }
  const fs::path file = prompt_file(path);
  const auto [name, stored, meta] = read_prompt(file);
  const std::int64_t w = model.word_width;
  require(stored.shape().rank() == 2 && stored.shape()[0] > 0 && stored.shape()[1] == w && is_float(stored.dtype()),
          ErrorCode::input, file.string(), "tensor ", name, " has shape ", stored.shape(), " and type ",
          info(stored.dtype()).name, ", the model needs float rows of width ", w);
  require(!rows || *rows == stored.shape()[0], ErrorCode::input, file.string(), "tensor ", name, " has ",
          stored.shape()[0], " rows, adapter_config.json says num_virtual_tokens ", rows.value_or(0));
  if (const auto it = meta.find("sinter.tokenizer"); it != meta.end())
    require(it->second == tokenizer_fingerprint(tokenizer), ErrorCode::input, file.string(),
            "was learned with another tokenizer");
  return cast(stored, DType::f32);
}

}  // namespace sinter
