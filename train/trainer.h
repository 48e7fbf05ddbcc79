#pragma once
#include <filesystem>
#include <functional>

#include "core/log.h"
#include "train/batch.h"
#include "train/snapshot.h"

namespace sinter {

// What is being learned: a soft prompt, all weights, adapters. The model itself is const to it.
class Task {
 public:
  virtual ~Task() = default;
  virtual std::vector<Param*> trainable() = 0;
  virtual Var loss(const Context&, const CausalLM&, const Batch&) const = 0;  // Σ over counted targets, [1]
  virtual void after_update() {}  // what must hold of the Params again after each update
};

struct TrainOptions {
  std::int64_t steps = 0;
  std::int64_t accumulate = 1;  // batches per update
  std::int64_t evaluate_every = 0;  // 0: only at the end
  std::int64_t patience = 0;  // stop after so many validations in a row without a new best; 0: never
  Schedule schedule{};
  AdamWOptions adam{};
  double clip = 1;  // of the global norm; 0: none
  bool checkpoint = false;
  Compute compute = Compute::f32;
  std::uint64_t seed = 0;
  double budget_seconds = 0;  // stop early after that long (0: never); the schedule still spans `steps`
  std::filesystem::path
      snapshot{};  // where the state goes: on an interrupt, every `snapshot_every` steps, at a new best
  std::int64_t snapshot_every = 0;  // 0: not at regular steps
  bool resume = false;  // start from the snapshot when there is one
  RunSettings settings{};  // of everything a resumed run must, or may not, share with the first
  std::filesystem::path metrics{};  // the history, one line per step
};

struct TrainResult {
  std::int64_t steps = 0;  // updates made
  double last_loss = 0;  // nats per counted token of the last update
  double first_validation = 0, best_validation = 0;  // nats per token; of the start and of the params that were kept
  std::int64_t best_step = 0;
  bool out_of_patience = false;
  double seconds = 0, tokens_per_second = 0;
};

// The one training loop: loss, gradients of the task's Params only, clipping by the global norm, AdamW. An update's
// gradient is that of the mean over all counted tokens of its batches. `validate` (may be empty) gives nats per token; it
// is called at the start, every evaluate_every steps and at the end, and the best Params are kept in the task.
//
// A loss or gradient that is not finite is Error(numeric) naming step, batch and examples, before it touches a Param; the
// snapshot that is there stays. A resumed run ends with the same bits as one that was never interrupted. The snapshot of
// the last step stays too: remove it once the result is safe.
TrainResult train(const CausalLM&, Task&, const std::function<Batch(std::int64_t)>& batches,
                  const std::function<double()>& validate, const TrainOptions&, LogSink&);

}  // namespace sinter
