#pragma once
#include <optional>
#include <string>
#include <vector>

#include "models/adapter.h"
#include "train/trainer.h"

namespace sinter {

// Adapters on the linears of a model's blocks.
struct AdapterPlan {
  enum class Kind { spp, lora } kind = Kind::spp;
  std::int64_t rank = 16;
  double scale = 2;  // of the correction: for LoRA alpha / rank, or alpha / √rank
  double dropout = 0.05;
  std::string targets{};  // regular expression searched in the linears' names; empty: all
  // LoRA: what scale was made from, as PEFT's file says it: alpha / rank, or with rslora alpha / √rank.
  std::optional<double> alpha{};
  bool rslora = false;
};

// Attaches fresh ones; each draws its start from its own stream of `seed`. All linears are checked before the first is
// touched: Error(usage) naming a linear whose rows the rank does not divide, or when no linear matches.
void attach_adapters(CausalLM&, const AdapterPlan&, std::uint64_t seed);

// Learns the adapters of a model; everything else stays as it is.
class AdapterTask final : public Task {
 public:
  explicit AdapterTask(CausalLM& model);  // the adapters that are attached now
  std::vector<Param*> trainable() override { return params_; }
  Var loss(const Context& ctx, const CausalLM& model, const Batch& batch) const override {
    return batch_loss(model, ctx, batch, Var());
  }

 private:
  std::vector<Param*> params_;
};

// The linears that carry an adapter, in execution order. Error(usage) when none matches.
std::vector<Linear*> adapter_targets(CausalLM&, const AdapterPlan&);
// Trainable values that the plan adds: m + r n per linear [m, n] for SPP, r (m + n) for LoRA. Checks like attach_adapters.
std::int64_t adapter_parameters(CausalLM&, const AdapterPlan&);

}  // namespace sinter
