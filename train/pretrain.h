#pragma once
#include "train/trainer.h"

namespace sinter {

// All weights of a thawed model.
class PretrainTask final : public Task {
 public:
  explicit PretrainTask(CausalLM& model) {
    model.each_param([this](Param& p) { params_.push_back(&p); });
  }
  std::vector<Param*> trainable() override { return params_; }
  Var loss(const Context& ctx, const CausalLM& model, const Batch& batch) const override {
    return batch_loss(model, ctx, batch, Var());
  }

 private:
  std::vector<Param*> params_;
};

}  // namespace sinter
