// SparseGPT: pruning, alone or together with quantisation, in one sweep of the OBS solver.
// Frantar & Alistarh, ICML 2023, algorithm 1.
#include "train/compress/obs_layer.h"
#include "train/compress/result.h"

namespace sinter {
namespace {

class SparseGpt final : public LayerMethod {
 public:
  explicit SparseGpt(const ObsSettings& s) : settings_(s) {}
  StatsRequest needs() const override { return {.gram = true}; }
  Pruning pruning() const override { return settings_.grid ? Pruning::optional : Pruning::required; }
  LayerResult compress(const LayerProblem& p) const override { return compress_by_obs(p, settings_); }

 private:
  ObsSettings settings_;
};

}  // namespace

// damp, block, one_more, stale_groups; with bits also group, sym, mse.
std::unique_ptr<LayerMethod> make_sparsegpt(MethodOptions& o) {
  ObsSettings s;
  read_obs_settings(s, o, "sparsegpt");
  s.one_more = o.flag("one_more");
  if (o.has("bits")) s.grid = read_grid_rule(o, "sparsegpt");
  return std::make_unique<SparseGpt>(s);
}

}  // namespace sinter
