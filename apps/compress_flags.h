#pragma once
#include "apps/command.h"
#include "train/compress/method.h"

namespace sinter {

// The flags of `sinter compress` and what they mean to the library.
struct CompressFlags {
  std::string model, out, method_name, calibration, calibration_like, only, skip, save = "packed", scratch, max_memory;
  std::vector<std::string> settings_of_method;  // key=value
  std::optional<double> sparsity, percdamp;
  std::optional<std::string> pattern;
  std::optional<std::int64_t> bits, group_size, seq_len, block_size;
  std::int64_t samples = 128;
  bool sym = false, mse = false, act_order = false, static_groups = false, true_sequential = false, resume = false,
       dry_run = false;

  void declare(Flags&);
  std::unique_ptr<LayerMethod> make() const;  // Error(usage) for flags that contradict one another or the method
  Sparsity target() const;  // what to prune
  std::optional<double> memory_limit() const;  // bytes of --max-memory; Error(usage)
  // All that the result depends on besides the model and the windows, for compression.json.
  Json settings(std::int64_t windows, std::int64_t length, const Session&) const;
};

}  // namespace sinter
