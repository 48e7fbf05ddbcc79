#pragma once
#include "apps/train_flags.h"
#include "train/training_memory.h"

namespace sinter {

// What training will take, and whether activations are checkpointed for it: the part that the sub-commands that train on
// a given model share.
class TrainingPlan {
 public:
  void declare(Flags&);
  void check(const TrainFlags&) const;  // Error(usage)
  bool dry_run() const { return dry_run_; }

  // Prints what a run would take and returns it. The model's weights need not be there: then the flags say how its linears
  // will be stored. length: tokens per sequence unless --seq-len is given; steps: of the run, where they are known.
  Json describe(Session&, const std::string& model, const TrainFlags&, const Learning&, std::int64_t prompt_rows,
                std::int64_t length, std::optional<std::int64_t> steps) const;

  // For a run: whether to checkpoint. As the flags say; else where activations would take more than all else and than a
  // GiB, or the estimate without it exceeds the memory that there is. Error(usage) where --max-memory does not suffice either way. Before weights are thawed.
  bool checkpoint(CausalLM&, TrainingShape, const TrainFlags&, LogSink&);
  Json report() const;  // of the run: what was chosen and estimated, and what was measured so far

 private:
  struct Choice {
    TrainingMemory memory;  // of the choice
    double plain = 0, checkpointed = 0, limit = 0;  // bytes
    bool on = false;
  };
  Choice choose(CausalLM&, TrainingShape, const std::optional<StoredAs>&, const TrainFlags&, double taken) const;
  std::optional<StoredAs> stored_as() const;

  std::string max_memory_, pattern_;
  std::optional<double> sparsity_;
  std::optional<std::int64_t> bits_, group_size_;
  bool dry_run_ = false, no_checkpoint_ = false;
  std::optional<Choice> choice_;
};

// The shape of a run; examples held out: 0 for no validation.
TrainingShape training_shape(const Session&, const TrainFlags&, const Learning&, std::int64_t length,
                             std::int64_t prompt_rows, std::int64_t held_out);

}  // namespace sinter
