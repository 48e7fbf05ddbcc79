#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace sinter {

// A .safetensors file as Tensors that borrow its mapping. Error(input) names the file and the tensor.
class TensorFile {
 public:
  explicit TensorFile(const std::filesystem::path& path);
  ~TensorFile();
  TensorFile(TensorFile&&) noexcept;
  TensorFile& operator=(TensorFile&&) noexcept;

  const std::string& path() const;
  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  Tensor tensor(const std::string& name) const;  // copied only where the file is not aligned to the element
  const std::map<std::string, std::string>& metadata() const;
  const std::string& warning() const;  // the first oddity that is no error, or empty

 private:
  struct State;
  std::unique_ptr<State> state_;
};

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// Complete and synced, or not there at all. Error(io) names the file.
void write_tensors(const std::filesystem::path& path, const NamedTensors&,
                   const std::map<std::string, std::string>& metadata = {});

}  // namespace sinter
