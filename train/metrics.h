#pragma once
#include <filesystem>
#include <fstream>
#include <optional>

namespace sinter {

// One step of a run. Lines are functions of the seed but for the last two fields.
struct StepMetrics {
  std::int64_t step = 0;
  struct Update {
    double loss, lr, gradient_norm;  // nats per counted token, before the update; the norm before clipping
  };
  std::optional<Update> update{};  // absent where only a validation was made
  std::int64_t tokens = 0;  // read so far
  std::optional<double> validation{};  // after the update, nats per token
  double seconds = 0;  // of the step with its validation
  double tokens_per_second = 0;  // without it
};

// The history of a run: a .jsonl with one object per step, docs/training.md. Lines are complete on disk as soon as they are
// written, but for a power cut. Error(io) names the file.
class MetricsFile {
 public:
  // An empty path: nothing is written. Of a file that is there the lines up to `last_step` stay; what an interrupted run
  // wrote after its snapshot goes. −1: a new file.
  MetricsFile(const std::filesystem::path&, std::int64_t last_step);
  void write(const StepMetrics&);

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace sinter
