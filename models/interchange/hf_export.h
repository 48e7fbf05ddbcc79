#pragma once
#include <filesystem>
#include <optional>

#include "core/log.h"
#include "models/causal_lm.h"

// A model as a Hugging Face directory that other programs read.
namespace sinter {

// What can be said of a linear's storage without unpacking it.
struct GridFacts {
  std::string name;
  std::int64_t out = 0, in = 0;
  bool on_grid = false;  // codes; else floats, and what follows is not set
  bool sparse = false;  // stored with a mask
  int bits = 0;
  std::int64_t group = -1;  // -1: one group per row
  bool symmetric = false, act_order = false;
  bool half_scales = false;  // in f16, as they are
  bool scales_round_to_half = false;  // finite, and none but 0 becomes 0
};
GridFacts grid_facts(const Linear&);
std::vector<GridFacts> grid_facts(CausalLM&);  // of the blocks' linears

enum class ExportFormat { dense, gptq, compressed_tensors };

struct ExportOptions {
  ExportFormat format = ExportFormat::dense;
  // dense: what all floats are stored in, rounded if need be. Without it every tensor has the source's type if that
  // holds it exactly, else f32.
  std::optional<DType> dtype;
  std::uint64_t shard_bytes = 2'000'000'000;  // in memory at a time
};

struct ExportReport {
  std::uint64_t bytes = 0;  // of all tensors
  double bits_per_weight = 0;  // of the blocks' linears
  double error = 0;  // largest ‖W − written‖ / ‖W‖ of a linear; 0: every one is exact
  std::string worst;  // that linear
  std::vector<std::string> notes;  // what a reader of the files should know
};

// Why the format cannot hold the model, naming the first linear in the way; empty when it can.
std::string export_obstacle(const std::vector<GridFacts>&, ExportFormat);

// Writes weights, config.json (with quantization_config), quantize_config.json for GPTQ, tokenizer and generation files
// into an existing directory `to`; `from` is where the model was loaded. Zeros stay zeros. GPTQ: version 1 when all
// grids are symmetric, else 2; scales in f16. Error(usage) with export_obstacle() before anything is written.
ExportReport export_hf(CausalLM&, const std::filesystem::path& from, const std::filesystem::path& to,
                       const ExportOptions&, LogSink&);

}  // namespace sinter
