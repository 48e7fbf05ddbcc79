#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ops/frozen_weight.h"

namespace sinter {

class Checkpoint;

// What another program's quantiser left in a checkpoint: GPTQ v1 and v2, AWQ, compressed-tensors. A linear comes out in
// a format of ours, with the same codes, scales and zeros.
class ForeignFormat {
 public:
  virtual ~ForeignFormat() = default;
  // Nothing where the checkpoint holds no tensor of the format for that linear. Error(input) names file and tensor.
  virtual std::optional<Packed> packed(const Checkpoint&, const std::string& linear) const = 0;
  // What packed() reads of a linear besides its ".weight": "qweight" for "<linear>.qweight".
  virtual std::span<const std::string_view> parts() const = 0;
};

// What config.json says under quantization_config, else quantize_config.json (GPTQ) or quant_config.json (AWQ). Null
// when nobody quantised the model, or we did. Error(input) names a method that is not supported, and what to do about
// it. Where the tensors contradict what the file says of them, the tensors are right, and `warnings` gets a line.
std::unique_ptr<ForeignFormat> foreign_format(const std::filesystem::path& dir, const Checkpoint&,
                                              std::vector<std::string>& warnings);

// The weights' file as AutoGPTQ used to name it (without ".safetensors"): model_file_base_name, or
// gptq_model-4bit-128g. Nothing when no config speaks of it.
std::optional<std::string> gptq_base_name(const std::filesystem::path& dir);

}  // namespace sinter
