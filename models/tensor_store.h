#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/frozen_weight.h"

namespace sinter {

// The tensors of one file of a checkpoint under their Hugging Face names, whatever the container. Mapped: nothing is
// read before it is used. Errors are Error(input) and name file and tensor.
class TensorStore {
 public:
  virtual ~TensorStore() = default;
  virtual std::vector<std::string> names() const = 0;
  virtual bool has(const std::string& name) const = 0;
  virtual Tensor tensor(const std::string& name) const = 0;
  // A linear (its name without ".weight") that the file itself holds in a format of ours, with its parts; or nothing.
  virtual std::optional<Packed> packed(const std::string& linear) const = 0;
  virtual std::string note() const { return {}; }  // worth telling the user: what was passed over
};

std::unique_ptr<TensorStore> open_safetensors(const std::filesystem::path&);  // safetensors_store.cpp
std::unique_ptr<TensorStore> open_bin(const std::filesystem::path&);  // interchange/bin_store.cpp

}  // namespace sinter
