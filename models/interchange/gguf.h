#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "models/causal_lm.h"
#include "models/tensor_store.h"

// LLaMA models in GGUF version 3, the container of llama.cpp (format: its gguf.h; docs/formats.md, "GGUF").
namespace sinter {

// A path that a MODEL argument names: is it a GGUF file? By its name or its first bytes.
bool is_gguf(const std::filesystem::path&);

// The tensors under Hugging Face names, mapped, in Hugging Face's order of the rows of q_proj and k_proj. Matrices in
// Q4_0, Q8_0 and Q6_K come out of packed() as grouped_int. Error(input) names file, key or tensor.
std::unique_ptr<TensorStore> open_gguf(const std::filesystem::path&);

// The small files that a Hugging Face directory with this model would hold: config.json, and the tokenizer's.
Json gguf_config(const std::filesystem::path&);
struct GgufTokenizer {
  std::string file;  // "tokenizer.model" or "tokenizer.json"
  std::string content;
  std::string config;  // tokenizer_config.json
};
GgufTokenizer gguf_tokenizer(const std::filesystem::path&);

// What the matrices are stored in. Norms and biases are always F32, embedding and head at least Q8_0, rows whose width
// is no multiple of 32 never in blocks (F16 then).
//   automatic: grouped integers as Q4_0 or Q8_0 where that is exact (below), else F16; dense ones as they are stored
//   f32, f16, bf16, q8_0, q4_0: that type, rounded where it must be
// Exact in Q4_0: codes − zero within −8..7, in Q8_0: within −128..127, when the group is a multiple of 32, without
// act-order, and the scales are exact in f16. A grid whose scales are not keeps its codes; the scales are rounded.
enum class GgufType { automatic, f32, f16, bf16, q8_0, q4_0 };

struct GgufOptions {
  GgufType type = GgufType::automatic;
  std::string name;  // general.name; empty: the model directory's
};

struct GgufTensor {
  std::string name;  // in Hugging Face's terms, without ".weight"
  std::string type;  // "Q4_0"
  double error = 0;  // ‖W − stored‖ / ‖W‖, 0 when exact
  std::uint64_t bytes = 0;
};

// Writes the model (all matrices frozen) with the tokenizer and the ids of `model_path`, the directory or file it was
// loaded from. One tensor is in memory at a time; the file appears when it is complete. Error(unsupported) for what
// llama.cpp has no place for, before anything is written: OPT, a pre-tokenizer that it does not know. Returns the
// matrices in the order of the file.
std::vector<GgufTensor> write_gguf(CausalLM& model, const std::filesystem::path& model_path,
                                   const std::filesystem::path& out, const GgufOptions& = {});

// The checks of write_gguf alone: Error(unsupported) says why llama.cpp could not use the model.
void check_gguf(const ModelConfig&, const std::filesystem::path& model_path);

}  // namespace sinter
