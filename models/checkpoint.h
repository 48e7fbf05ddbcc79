#pragma once
#include <filesystem>
#include <memory>

#include "core/log.h"
#include "core/tensor_file.h"
#include "models/causal_lm.h"

namespace sinter {

// The tensors of a Hugging Face directory, or of one that we wrote: model.safetensors, or the shards that
// model.safetensors.index.json names; without them pytorch_model.bin, or the shards of pytorch_model.bin.index.json.
// Everything is mapped; nothing is read before it is used.
class Checkpoint {
 public:
  explicit Checkpoint(const std::filesystem::path& dir);  // Error(input) names file, field or tensor
  ~Checkpoint();

  bool has(const std::string& name) const;
  Tensor tensor(const std::string& name) const;
  std::string file_of(const std::string& name) const;  // for messages
  std::vector<std::string> names() const;
  std::uint64_t bytes_on_disk() const;
  // A linear in one of our own storage formats (docs/formats.md), with its parts: as the file has it, or translated from
  // the format of another quantiser (models/interchange/foreign.h). Nothing for a plain "<linear>.weight".
  std::optional<Packed> packed(const std::string& linear) const;
  // Names under which another quantiser keeps its parts: "qweight" for "<linear>.qweight".
  std::span<const std::string_view> foreign_parts() const;
  const std::vector<std::string>& warnings() const;  // contradictions that were resolved, values that were skipped

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The model with all weights frozen, as stored. Error(input) for a missing tensor, a wrong shape or type.
// The log gets the checkpoint's warnings.
std::unique_ptr<CausalLM> load_model(const std::filesystem::path& dir, LogSink* = nullptr);

// The type the checkpoint stores its embedding in, for SaveOptions::source.
DType source_dtype(const CausalLM&);

// A model of that shape with random trainable f32 weights: N(0, 0.02), residual outputs N(0, 0.02 / √(2·layers)),
// norms 1, biases 0.
std::unique_ptr<CausalLM> random_model(const ModelConfig&, std::uint64_t seed);

struct SaveOptions {
  DType params = DType::f32;  // how trainable weights are written; frozen matrices are written as they are stored
  DType source = DType::f32;  // what the model was loaded from: frozen vectors go back to it where that is exact
  std::uint64_t shard_bytes = 5'000'000'000;
};

// Writes model.safetensors (or shards with their index) into an existing directory.
void save_weights(CausalLM&, const std::filesystem::path& dir, const SaveOptions& = {});

// The tokenizer's files, byte for byte; from a GGUF file those that a directory with its tokenizer would hold.
void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& to);
// Those and config.json, which gains `config_changes` on top, of which null removes a key.
void copy_model_files(const std::filesystem::path& from, const std::filesystem::path& to, const Json& config_changes);

}  // namespace sinter
