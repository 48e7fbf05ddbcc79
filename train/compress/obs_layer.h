#pragma once
#include "train/compress/method.h"
#include "train/compress/obs.h"

namespace sinter {

// What SparseGPT, GPTQ and Wanda with bits differ in.
struct ObsSettings {
  double damp = 0.01;  // share of the Hessian's mean diagonal added to it
  std::int64_t block = 128;
  std::optional<GridRule> grid;
  bool act_order = false;  // columns in descending order of the Hessian's diagonal
  bool static_groups = false;  // grids of groups of neighbours found before the sweep
  bool stale_groups = false, one_more = false;  // habits of the published code (ObsOptions)
};

// damp, block, act_order, static_groups, stale_groups; bits and the rest of the grid where `bits` is given or required.
ObsSettings read_obs_settings(MethodOptions&, std::string_view method, bool quantises);

// Error(usage) where the settings do not go with an n:m pattern that the sweep chooses itself.
void check_obs_pattern(const ObsSettings&, const Sparsity&, std::int64_t columns, std::string_view where);

// One linear: grid of the dense rows, dead columns, static groups, act-order, factor, sweep, and the order undone.
// drop: u8 [out, in], 1 = becomes zero; empty: the sweep chooses what the problem's sparsity asks for.
LayerResult compress_by_obs(const LayerProblem&, const ObsSettings&, const Tensor& drop = {});

}  // namespace sinter
