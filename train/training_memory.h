#pragma once
#include <optional>
#include <string>
#include <vector>

#include "models/packed.h"
#include "train/block_memory.h"

namespace sinter {

// One run of training, as far as memory and time depend on it.
struct TrainingShape {
  Learning learning{};
  std::int64_t batch = 1, length = 0, prompt_rows = 0, accumulate = 1;
  std::int64_t validation_rows = 0;  // of one pass; 0: no validation
  bool checkpoint = false;
  std::int64_t rows() const { return batch * (length + prompt_rows); }
};

// Rows of the largest validation pass over `count` sequences: see mean_nll.
std::int64_t validation_rows(std::int64_t count, std::int64_t length, std::int64_t prompt_rows);

struct MemoryTerm {
  std::string what;
  double bytes = 0;
};

// What training will take at its peak: all of `held`, and the largest of `phases`.
struct TrainingMemory {
  std::int64_t parameters = 0;  // trainable values
  std::vector<MemoryTerm> held, phases;
  double embedding = 0;  // of `held`: what a table apart from the head takes; rows that no text holds are never read
  double peak() const;
};

// From shapes alone, so that `model` may be a shape_model; then `stored` says how its linears will be stored. Call it
// before weights are thawed. Error(usage) for adapters that do not fit.
TrainingMemory training_memory(CausalLM& model, const TrainingShape&, const std::optional<StoredAs>& stored = {});

// Floating-point operations of one update.
double training_flops(CausalLM&, const TrainingShape&);
// Operations per second of products with such a weight and its transpose, measured for about a second.
double measure_training_rate(const FrozenWeight& sample, std::int64_t rows, Compute);

}  // namespace sinter
