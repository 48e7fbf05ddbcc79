#pragma once
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "models/config.h"
#include "models/kv_cache.h"
#include "models/layout.h"
#include "models/norm.h"
#include "ops/cross_entropy.h"
#include "ops/rope.h"

namespace sinter {

struct LayerRange {
  int first, last;  // [first, last)
};

// What all blocks of one forward pass share.
struct Pass {
  Context ctx;
  Layout layout;
  RopeTable rope;  // empty for OPT
  KvCache* cache = nullptr;  // one sequence, no tape
};

// One decoder block; LLaMA and OPT differ only below this line.
class Block {
 public:
  virtual ~Block() = default;
  virtual Var forward(const Pass&, const Var& h) const = 0;  // [T, d] -> [T, d]
  // Linears in execution order, grouped by shared input: {q,k,v} {o} {gate,up} {down}.
  virtual std::vector<std::vector<Linear*>> stages() = 0;
  virtual void each_weight(const EachWeight&) = 0;  // all that is not a Linear
};

// The ends of a model, around its blocks.
struct ModelEnds {
  std::string embedding_name, head_name;  // tensor names without ".weight"
  Matrix embedding;  // [V, w]
  std::optional<Weight> positions;  // OPT: [max_positions + 2, d]
  std::string positions_name;
  std::optional<Linear> project_in, project_out;  // OPT-350m: w -> d, d -> w
  std::optional<Norm> norm;
  std::optional<Matrix> head;  // [V, w]; absent when tied
};

// A decoder-only language model in pieces, so that prompts, exits and drafts need no special forward.
class CausalLM {
 public:
  CausalLM(ModelConfig, ModelEnds, std::vector<std::unique_ptr<Block>>);
  const ModelConfig& config() const { return config_; }

  Var embed(const Context&, std::span<const std::int32_t> ids) const;  // [n, w]; a soft prompt lives in this space
  Var enter(const Context&, const Var& e, const Layout&) const;  // [n, w] -> [n, d]: project_in, positions
  Var run(const Context&, Var h, LayerRange, const Layout&, KvCache* = nullptr) const;
  Var finish(const Context&, const Var& h) const;  // final norm, project_out: [n, w]
  Var logits(const Context&, const Var& h) const;  // [n, V]: finish, then the head
  // Σ −log p(target) over rows whose target is not −1, [1]; and per row, [n].
  Var loss(const Context&, const Var& h, std::span<const std::int32_t> targets) const;
  Tensor nll(const Context&, const Var& h, std::span<const std::int32_t> targets) const;

  LayerRange all() const { return {0, int(blocks_.size())}; }
  KvCache make_cache(std::int64_t capacity) const;
  Block& block(int i) { return *blocks_.at(std::size_t(i)); }
  const ModelEnds& ends() const { return ends_; }
  const std::vector<std::unique_ptr<Block>>& blocks() const { return blocks_; }

  void each_linear(const std::function<void(Linear&)>&);  // of the blocks, in execution order
  void each_weight(const EachWeight&);  // norms, positions
  void each_matrix(const std::function<void(const std::string& name, Matrix&)>&);  // embedding, head if untied
  void each_projection(const std::function<void(Linear&)>&);  // OPT-350m's project_in, project_out
  void each_param(const EachParam&);
  // Another vocabulary: embedding and head, both [V', w]. The head is a matrix of its own from then on.
  void replace_words(FrozenWeightPtr embedding, FrozenWeightPtr head);

 private:
  HeadWeight head_weight(const Context&) const;
  ModelConfig config_;
  std::vector<float> inv_freq_;  // empty for OPT
  ModelEnds ends_;
  std::vector<std::unique_ptr<Block>> blocks_;
};

// Makes Params of everything (pretraining, full fine-tuning).
void thaw(CausalLM&);

}  // namespace sinter
