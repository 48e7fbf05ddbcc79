#pragma once
#include "train/compress/method.h"
#include "train/compress/obs.h"

namespace sinter {

// What SparseGPT and GPTQ differ in.
struct ObsSettings {
  double damp = 0.01;  // share of the Hessian's mean diagonal added to it
  std::int64_t block = 128;
  std::optional<GridRule> grid;
  bool act_order = false;  // columns in descending order of the Hessian's diagonal
  bool static_groups = false;  // grids of groups of neighbours found before the sweep
  bool stale_groups = false, one_more = false;  // habits of the published code (ObsOptions)
};

void read_obs_settings(ObsSettings&, MethodOptions&, std::string_view method);  // damp, block, stale_groups

// One linear: grid of the dense rows, dead columns, static groups, act-order, factor, sweep, and the order undone.
LayerResult compress_by_obs(const LayerProblem&, const ObsSettings&);

}  // namespace sinter
