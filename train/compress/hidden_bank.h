#pragma once
#include <vector>

#include "models/causal_lm.h"
#include "train/data/text.h"

namespace sinter {

// The hidden states [T, d] of all calibration windows where the current block begins, several windows to a batch. f32.
class HiddenBank {
 public:
  // Windows of one length; Error(usage) names what is wrong with them.
  HiddenBank(const CausalLM&, const Windows&, const Context&);
  std::int64_t sequences() const { return sequences_; }
  std::int64_t tokens() const { return sequences_ * length_; }

  void observe(const CausalLM&, int block, const Context&) const;  // runs the block, keeps nothing
  void advance(const CausalLM&, int block, const Context&);  // the block's outputs become the bank

 private:
  Var run(const CausalLM&, int block, const Context&, const Tensor& batch) const;
  std::int64_t sequences_, length_;
  std::vector<Tensor> batches_;
};

}  // namespace sinter
