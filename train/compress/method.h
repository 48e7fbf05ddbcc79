#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string_view>

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
  Sparsity sparsity = Unpruned{};
  DType store = DType::f32;  // unquantised results are rounded to it, so that it can hold them
  FactorMemo* memo = nullptr;  // shared by the linears with these stats
};

struct LayerResult {
  Tensor dense;  // [out, in], of the weight's type: zeros and grid values are exact
  std::optional<PackedInt> packed;  // the same values, where they lie on a grid (f32 problems)
  // ‖(W − Ŵ) X‖² / ‖W X‖² from the Gram matrix; from the column norms, or with X = 1, where that is all there is.
  double error = 0;
  double zeros = 0;  // share of exact zeros
  double bits_per_weight = 0;  // values kept (of the store type unless quantised), 1 for a mask, scales and zeros
  double loss = 0;  // Σ e² / 2 of the OBS sweep, 0 for other methods
  double damp = 0;  // share of the mean diagonal that was added to the Hessian
  int ladder = 0;  // steps taken until the Hessian could be factored
};

// A layer-wise compression method: a pure function of the problem.
class LayerMethod {
 public:
  enum class Pruning { none, optional, required };
  virtual ~LayerMethod() = default;
  virtual StatsRequest needs() const = 0;
  virtual Pruning pruning() const = 0;
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
