#pragma once
#include "train/trainer.h"

namespace sinter {

// Learns all weights of a thawed model: pretraining and full fine-tuning.
class FullTask final : public Task {
 public:
  // keep_zeros: weights of the blocks' linears that are zero now stay zero, so that a sparse model keeps its mask.
  FullTask(CausalLM& model, bool keep_zeros);
  std::vector<Param*> trainable() override { return params_; }
  Var loss(const Context& ctx, const CausalLM& model, const Batch& batch) const override {
    return batch_loss(model, ctx, batch, Var());
  }
  void after_update() override;

 private:
  struct Masked {
    Param* weight;
    std::vector<bool> kept;
  };
  std::vector<Param*> params_;
  std::vector<Masked> masked_;
};

}  // namespace sinter
