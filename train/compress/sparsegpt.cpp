// SparseGPT: pruning, alone or together with quantisation, in one sweep of the OBS solver.
// Frantar & Alistarh, ICML 2023, algorithm 1.
#include "train/compress/obs_layer.h"

namespace sinter {
namespace {

class SparseGpt final : public LayerMethod {
 public:
  explicit SparseGpt(const ObsSettings& s) : settings_(s) {}
  StatsRequest needs() const override { return {.gram = true}; }
  Pruning pruning() const override { return settings_.grid ? Pruning::optional : Pruning::required; }
  void check(const Sparsity& s, std::int64_t columns, std::string_view where) const override {
    check_obs_pattern(settings_, s, columns, where);
  }
  LayerResult compress(const LayerProblem& p) const override { return compress_by_obs(p, settings_); }

 private:
  ObsSettings settings_;
};

}  // namespace

// damp, block, act_order (not in n:m), one_more; with bits also the grid, static_groups, stale_groups.
std::unique_ptr<LayerMethod> make_sparsegpt(MethodOptions& o) {
  ObsSettings s = read_obs_settings(o, "sparsegpt", false);
  s.one_more = o.flag("one_more");
  return std::make_unique<SparseGpt>(s);
}

}  // namespace sinter
