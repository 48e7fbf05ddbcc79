#pragma once
#include <filesystem>
#include <functional>
#include <optional>

#include "core/log.h"
#include "train/batch.h"
#include "train/optim.h"

namespace sinter {

// What is being learned: a soft prompt, all weights, later adapters. The model itself is const to it.
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
  Schedule schedule{};
  AdamWOptions adam{};
  double clip = 1;  // of the global norm; 0: none
  bool checkpoint = false;
  Compute compute = Compute::f32;
  std::uint64_t seed = 0;
  double budget_seconds = 0;  // stop early after that long (0: never); the schedule still spans `steps`
  std::filesystem::path snapshot{};  // where the state goes on an interrupt and every `snapshot_every` steps
  std::int64_t snapshot_every = 0;
  bool resume = false;  // start from the snapshot when there is one
  std::string fingerprint{};  // of everything a resumed run must share with the first
};

struct TrainResult {
  std::int64_t steps = 0;  // updates made
  double last_loss = 0;  // nats per counted token of the last batch
  double first_validation = 0, best_validation = 0;  // nats per token; of the start and of the params that were kept
  std::int64_t best_step = 0;
  double seconds = 0, tokens_per_second = 0;
};

// The one training loop: loss, gradients of the task's Params only, clipping, AdamW. `validate` (may be empty) gives nats
// per token; it is called at the start, every evaluate_every steps and at the end, and the best Params are kept in the
// task. A loss that is not finite is Error(numeric) naming the step. A resumed run ends with the same bits.
TrainResult train(const CausalLM&, Task&, const std::function<Batch(std::int64_t)>& batches,
                  const std::function<double()>& validate, const TrainOptions&, LogSink&);

}  // namespace sinter
