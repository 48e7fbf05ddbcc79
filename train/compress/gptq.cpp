// GPTQ: quantisation column by column, each rounding error compensated by the columns that follow.
// Frantar et al., ICLR 2023, algorithm 1.
#include "train/compress/obs_layer.h"

namespace sinter {
namespace {

class Gptq final : public LayerMethod {
 public:
  explicit Gptq(const ObsSettings& s) : settings_(s) {}
  StatsRequest needs() const override { return {.gram = true}; }
  Pruning pruning() const override { return Pruning::none; }
  LayerResult compress(const LayerProblem& p) const override { return compress_by_obs(p, settings_); }

 private:
  ObsSettings settings_;
};

}  // namespace

// The grid as for rtn, damp, block, act_order, static_groups, stale_groups.
std::unique_ptr<LayerMethod> make_gptq(MethodOptions& o) {
  return std::make_unique<Gptq>(read_obs_settings(o, "gptq", true));
}

}  // namespace sinter
