#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/packed_int.h"
#include "train/compress/factor.h"
#include "train/compress/mask.h"
#include "train/compress/options.h"
#include "train/compress/stats.h"

namespace sinter {

// One linear to compress. f32 as the published code works; an f64 weight (with f64 statistics) is solved in f64.
struct LayerProblem {
  std::string_view name;
  Tensor weight;  // [out, in]
  const LayerStats* stats = nullptr;  // what the method's needs() asks for; more makes `error` more exact
  // tr(W H Wᵀ) = (2/N) Σ ‖W x‖², where it was measured (StatsCollector::energy); else computed where needed
  std::optional<double> energy = {};
  Sparsity sparsity = Unpruned{};
  // The same stats, where their Gram matrix may be used up: it becomes the factor in its own storage. Then `error` rests
  // on the sweep's loss alone and there is no `over_plain`. Needs `energy` and, for a second linear, `memo`.
  LayerStats* spend = nullptr;
  DType store = DType::f32;  // unquantised results are rounded to it, so that it can hold them
  FactorMemo* memo = nullptr;  // shared by the linears with these stats
};

struct LayerResult {
  Tensor dense;  // [out, in], of the weight's type: zeros and grid values are exact
  std::optional<PackedInt> packed;  // the same values, where they lie on a grid (f32 problems)
  // ‖(W − Ŵ) X‖² / ‖W X‖² from the Gram matrix; from the column norms, or with X = 1, where that is all there is.
  double error = 0;
  double zeros = 0;  // share of exact zeros
  std::int64_t dead = 0;  // columns that no calibration input excites
  // Of the OBS sweep; 0 for other methods
  double loss = 0;  // Σ e² / 2
  double damp = 0;  // share of the mean diagonal that was added to the Hessian
  int ladder = 0;  // steps taken until the Hessian could be factored (factorise())
  bool few_tokens = false;  // fewer calibration tokens than inputs: the result rests on the damping
  // The error of 16 rows spread over the matrix, over that of the same zeros and grids without any update. The sweep is
  // greedy, so a single row may lose by it; a layer that does (above 1) has a bad Hessian. 0: there is nothing to compare.
  double over_plain = 0;
};

// What a user should be told of a result besides its figures, without the linear's name. few_tokens is not among them:
// that is one thing to say of a run.
std::vector<std::string> remarks(const LayerResult&);

// A layer-wise compression method: a pure function of the problem.
class LayerMethod {
 public:
  enum class Pruning { none, optional, required };
  virtual ~LayerMethod() = default;
  virtual StatsRequest needs() const = 0;
  virtual Pruning pruning() const = 0;
  // Error(usage) for a sparsity that the method, with its options, cannot give a linear of so many inputs.
  virtual void check(const Sparsity& s, std::int64_t columns, std::string_view where) const {
    check_sparsity(s, columns, where);
  }
  virtual LayerResult compress(const LayerProblem&) const = 0;
};

struct MethodInfo {
  std::string_view name, paper;
  std::unique_ptr<LayerMethod> (*make)(MethodOptions&);
};
std::span<const MethodInfo> methods();
// Error(usage) for an unknown name, an unknown option, a value out of range.
std::unique_ptr<LayerMethod> make_method(std::string_view name, MethodOptions = {});

}  // namespace sinter
