#pragma once
#include <filesystem>
#include <optional>

#include "apps/command.h"
#include "train/data/text.h"
#include "train/trainer.h"

namespace sinter {

// What the flags below are where they are not given.
struct TrainDefaults {
  std::int64_t steps = 1000;
  double lr = 1e-3, weight_decay = 0;
  std::string schedule = "linear";
  std::string data = "Training text: plain, or the field text of .jsonl or .json.gz";  // help
};

// The flags that all training sub-commands share; set other values before declare().
struct TrainFlags {
  std::string data, validation;
  std::optional<std::string> join, schedule;
  TrainDefaults defaults;
  std::int64_t batch = 2, accumulate = 1, evaluate_every = 100, patience = 0, snapshot_every = 100;
  std::optional<std::int64_t> steps, seq_len, warmup;  // warm-up: 500 or a tenth of the steps
  std::optional<double> lr, weight_decay;
  double clip = 1, budget_seconds = 0;
  bool grad_checkpoint = false, resume = false;

  void declare(Flags&);
  void check() const;  // Error(usage)
  // Options with the state and the metrics beside `out`. A resumed run must share the data, the seed, the shape of a batch,
  // `extra`, and whether it validates; the other flags may differ.
  TrainOptions options(const Session&, const std::filesystem::path& out, std::span<const Example>,
                       const std::string& extra) const;
};

// A file as one text, tokenised once and cut into consecutive windows.
Windows windows_of(const std::string& file, const std::optional<std::string>& join, const Tokenizer&,
                   std::int64_t vocab, std::int64_t length);

// train(), then `save`, and only then the state goes: whatever fails or interrupts says how to go on.
TrainResult run_training(const CausalLM&, Task&, BatchSampler&, const std::function<double()>& validate,
                         const TrainOptions&, LogSink&, const std::function<void(const TrainResult&)>& save);

}  // namespace sinter
