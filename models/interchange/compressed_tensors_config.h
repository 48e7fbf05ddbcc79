#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "models/interchange/bit_words.h"
#include "models/regex_split.h"

namespace sinter {

// What a compressed-tensors config says of the weights of some linears.
struct WeightScheme {
  int bits = 4;
  std::int64_t group = -1;  // -1: a whole row
  bool per_tensor = false;  // one scale for all of it
};

// quantization_config with quant_method "compressed-tensors".
class CompressedTensorsConfig {
 public:
  // Error(input) for what cannot be read exactly: float codes, marlin-24, transforms. What does not concern the
  // weights, such as rounding of activations, is passed over with a line in `warnings`.
  CompressedTensorsConfig(const Json& config, const std::string& where, std::vector<std::string>& warnings);
  // Of the group whose targets name the linear: in full, else by a pattern, else as "Linear". Error(input) if none does.
  const WeightScheme& scheme_of(const std::string& linear) const;
  WordLayout layout() const { return layout_; }  // that its version writes

 private:
  enum class By { name, pattern, module };
  struct Target {
    By by;
    std::string name;
    std::optional<Regex> pattern;
    std::size_t scheme;
  };
  void read_group(const JsonFields& group, const std::string& where, std::vector<std::string>& warnings);
  std::string where_;
  std::vector<WeightScheme> schemes_;
  std::vector<Target> targets_;
  WordLayout layout_ = WordLayout::dense;
};

}  // namespace sinter
