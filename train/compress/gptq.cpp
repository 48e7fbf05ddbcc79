// GPTQ: quantisation column by column, each rounding error compensated by the columns that follow.
// Frantar et al., ICLR 2023, algorithm 1.
#include "train/compress/obs_layer.h"
#include "train/compress/result.h"

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

// bits, group, sym, mse, damp, block, act_order, static_groups, stale_groups.
std::unique_ptr<LayerMethod> make_gptq(MethodOptions& o) {
  ObsSettings s;
  read_obs_settings(s, o, "gptq");
  s.grid = read_grid_rule(o, "gptq");
  s.act_order = o.flag("act_order");
  s.static_groups = o.flag("static_groups");
  return std::make_unique<Gptq>(s);
}

}  // namespace sinter
