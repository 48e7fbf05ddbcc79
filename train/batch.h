#pragma once
#include <span>
#include <vector>

#include "core/random.h"
#include "models/causal_lm.h"
#include "train/data/text.h"

namespace sinter {

// Sequences with the token that should follow each row; target −1: no loss here.
struct Batch {
  std::vector<std::int32_t> ids, targets;
  Layout layout;
  std::vector<std::int64_t> sources{};  // Example::source of each sequence, where known
  std::int64_t counted() const;  // targets that count
};

// One training sequence: ids with the target of each row, −1 where there is no loss.
struct Example {
  std::vector<std::int32_t> ids, targets;
  std::int64_t source = 0;  // which record or window of its file, from 1; 0: unknown
};
Batch batch_of(std::span<const Example* const>);
std::vector<Example> examples_of(const Windows&);  // row t predicts id t + 1

// n windows of T ids one after the other: row t of a window predicts its id t + 1, the last row predicts nothing.
Batch window_batch(std::span<const std::int32_t> ids, std::int64_t length);

// The hidden states after all blocks, with `prompt` [k, w] (or an untracked, empty Var) before every sequence at positions
// 0 .. k − 1, and the targets of all rows: −1 on prompt rows, so that x_0 is in no loss (arXiv 2305.11186, eq. 1).
struct Prompted {
  Var hidden;
  std::vector<std::int32_t> targets;
};
Prompted run_batch(const CausalLM&, const Context&, const Batch&, const Var& prompt);

Var batch_loss(const CausalLM&, const Context&, const Batch&, const Var& prompt);  // Σ over counted targets, [1]
// Nats per counted token of all examples, as many to a pass as have so many rows; at least one.
inline constexpr std::int64_t kRowsPerPass = 2048;
double mean_nll(const CausalLM&, std::span<const Example>, const Tensor& prompt, Compute);
Tensor batch_nll(const CausalLM&, const Context&, const Batch&, const Tensor& prompt);  // per row of the batch

// Endless batches of `size` examples: shuffled anew each epoch by the seed, a short rest dropped; a function of the step.
class BatchSampler {
 public:
  BatchSampler(std::vector<Example> examples, std::int64_t size, std::uint64_t seed);
  Batch at(std::int64_t step);
  std::int64_t batches_per_epoch() const { return std::int64_t(examples_.size()) / size_; }

 private:
  std::vector<Example> examples_;
  std::int64_t size_, epoch_ = -1;
  Rng rng_;
  std::vector<std::size_t> order_;
};

}  // namespace sinter
