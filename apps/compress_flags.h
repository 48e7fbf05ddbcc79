#pragma once
#include "apps/command.h"
#include "train/compress/method.h"

namespace sinter {

// The flags of `sinter compress` and what they mean to the library.
struct CompressFlags {
  std::string model, out, method_name, calibration, only, skip, save = "packed";
  std::optional<double> sparsity, percdamp;
  std::optional<std::string> pattern;
  std::optional<std::int64_t> bits, group_size, seq_len, block_size;
  std::int64_t samples = 128;
  bool sym = false, mse = false, act_order = false, static_groups = false, true_sequential = false, resume = false,
       dry_run = false;

  void declare(Flags&);
  std::unique_ptr<LayerMethod> make() const;  // Error(usage) for flags that contradict one another or the method
  Sparsity target() const;  // what to prune
  bool wanted(const std::string& linear) const;  // by --only and --skip; Error(usage) for a broken expression
  Json settings(std::int64_t windows, std::int64_t length, std::uint64_t seed) const;  // for compression.json
};

}  // namespace sinter
