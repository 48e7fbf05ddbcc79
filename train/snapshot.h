#pragma once
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "train/optim.h"

namespace sinter {

// Where a run stands, beside the Params and the optimiser's moments. The place in the data and every random number are
// functions of (seed, step), so that these are all that a later run needs to go on as if nothing had happened.
struct TrainState {
  std::int64_t step = 0;  // updates made
  std::int64_t tokens = 0;  // read by them
  double loss = 0;  // of the last update, nats per counted token
  std::int64_t validated = -1;  // step of the last validation; -1: none yet
  double first_validation = NAN, validation = NAN, best = INFINITY;  // nats per token
  std::int64_t best_step = 0, misses = 0;  // validations since the best one
  std::vector<Tensor> best_params{};  // empty without validation
};

// What a run was started with.
struct RunSettings {
  std::string fixed{};  // model, data, method: another run cannot go on from here when they differ
  std::string free{};  // learning rate, number of steps: may be changed on resuming
};

// One .safetensors file: docs/training.md. Complete and synced, or the one before it stays.
void save_snapshot(const std::filesystem::path&, const RunSettings&, const std::vector<Param*>&, const AdamW&,
                   const TrainState&);

struct Snapshot {
  TrainState state;
  std::string free;  // the settings of the run that wrote it
};
// Fills Params and optimiser. Error(input) for a file that is damaged, does not fit, or comes from other fixed settings.
Snapshot load_snapshot(const std::filesystem::path&, const RunSettings&, const std::vector<Param*>&, AdamW&);

// Removes what a killed run left of a snapshot that it was writing, under its temporary name.
void remove_unfinished(const std::filesystem::path& snapshot);

}  // namespace sinter
