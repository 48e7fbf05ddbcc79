#include "apps/training_plan.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/compress_plan.h"
#include "apps/memory_limit.h"
#include "apps/parts.h"
#include "models/checkpoint.h"
#include "models/interchange/gguf.h"
#include "models/shape_model.h"
#include "models/weights/formats.h"
#include "ops/code_stream.h"
#include "train/compress/mask.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr double kLittle = double(1 << 30);  // bytes of activations that may be kept beside weights that take less

bool holds_weights(const fs::path& model) {
  if (is_gguf(model)) return true;
  if (!fs::is_directory(model)) return false;
  return std::ranges::any_of(fs::directory_iterator(model), [](const fs::directory_entry& e) {
    return e.path().extension() == ".safetensors" || e.path().extension() == ".bin";
  });
}

// A weight to measure on, of which only the sizes and the format count.
FrozenWeightPtr sample_weight(std::int64_t size, const StoredAs& as) {
  const std::int64_t group = as.bits && as.group > 0 ? std::min(as.group, size) : size,
                     eighths = std::lround(8 * as.kept);
  const auto full = [](Shape shape, int value) {
    Tensor t = Tensor::empty(shape, DType::u8);
    std::ranges::fill(t.mutable_data<std::uint8_t>(), std::uint8_t(value));
    return t;
  };
  const Tensor scale = Tensor::full({size, (size + group - 1) / group}, 0.01, DType::f16),
               zero = full(scale.shape(), 0);
  if (as.kept >= 1 && as.bits == 0) return freeze_dense(Tensor::full({size, size}, 0.01, DType::bf16));
  if (as.kept >= 1)
    return freeze_grouped_int(
        {size, size, group, int(as.bits), full({size, stream_bytes(size, int(as.bits))}, 0), scale, zero, {}});
  SparseMatrix w;
  w.rows = w.cols = size;
  w.pattern = {std::clamp<std::int64_t>(eighths, 1, 8), 8};
  const std::int64_t kept = size / 8 * w.pattern.keep;
  w.mask = full({size, size / 8}, (1 << w.pattern.keep) - 1);
  w.bits = int(as.bits);
  if (w.bits == 0) {
    w.values = Tensor::full({size, kept}, 0.01, DType::bf16);
  } else {
    w.group = group, w.scale = scale, w.zero = zero;
    w.codes = full({size, stream_bytes(kept, w.bits)}, 0);
  }
  return freeze_sparse(std::move(w));
}

double measured_rate(CausalLM& model, const std::optional<StoredAs>& stored, std::int64_t rows, Compute compute) {
  constexpr std::int64_t kMostRows = 512, kSize = 1024;
  rows = std::min(rows, kMostRows);
  if (stored) return measure_training_rate(*sample_weight(kSize, *stored), rows, compute);
  const Linear* largest = nullptr;
  model.each_linear([&](const Linear& l) {
    if (!largest || l.out_features() * l.in_features() > largest->out_features() * largest->in_features()) largest = &l;
  });
  return measure_training_rate(*largest->frozen(), rows, compute);
}

void print_terms(std::ostream& out, const std::vector<MemoryTerm>& terms) {
  for (const auto& t : terms) {
    char row[160];
    std::snprintf(row, sizeof row, "  %-46s %12s\n", t.what.c_str(), human_bytes(t.bytes).c_str());
    out << row;
  }
}

Json terms_json(const std::vector<MemoryTerm>& terms) {
  Json list = Json::array();
  for (const auto& t : terms) list.push_back({{"what", t.what}, {"bytes", t.bytes}});
  return list;
}

std::string human_time(double seconds) {
  if (seconds < 120) return fixed(seconds, 1) + " s";
  return seconds < 7200 ? fixed(seconds / 60, 1) + " min" : fixed(seconds / 3600, 1) + " h";
}

}  // namespace

void TrainingPlan::declare(Flags& f) {
  f.flag(
      "--no-grad-checkpoint", no_checkpoint_,
      "Keep all activations. By default blocks run again (--grad-checkpoint) where those would take more than all else "
      "and than 1 GiB, or memory would not suffice");
  f.option("--max-memory", "N", &max_memory_,
           "Bytes, or with K, M, G (powers of 1024), such as 4G: what the run may take, instead of what the system has "
           "free. What cannot be done in that much is refused before it begins");
  f.flag("--dry-run", dry_run_,
         "Print parameters, memory and time, after a second of measuring; config.json is enough, and then the next "
         "flags say how the linears will be stored (default: 16 bits)");
  f.option("--bits", "B", &bits_, "With --dry-run: 2, 3, 4 or 8 bits per weight").alias("--wbits");
  f.option("--group-size", "G", &group_size_, "With --dry-run: weights that share a scale (default: a whole row)")
      .alias("--groupsize");
  f.option("--pattern", "N:M", &pattern_, "With --dry-run: N of every M weights are kept").alias("--sparsity-type");
  f.option("--sparsity", "P", &sparsity_, "With --dry-run: share of the weights that is zero");
}

void TrainingPlan::check(const TrainFlags& train) const {
  (void)stored_as();
  require(!(train.grad_checkpoint && no_checkpoint_), ErrorCode::usage, "--no-grad-checkpoint",
          "and --grad-checkpoint exclude each other");
  if (!max_memory_.empty()) (void)parse_bytes("--max-memory", max_memory_);
}

std::optional<StoredAs> TrainingPlan::stored_as() const {
  const bool given = bits_ || group_size_ || !pattern_.empty() || sparsity_;
  require(!given || dry_run_, ErrorCode::usage, "--dry-run",
          "belongs to --bits, --group-size, --pattern and --sparsity: the model's weights stay as they are stored");
  require(pattern_.empty() || !sparsity_, ErrorCode::usage, "--sparsity", "and --pattern exclude each other");
  if (!given) return std::nullopt;
  StoredAs as{.bits = bits_.value_or(0), .group = group_size_.value_or(-1)};
  require(!bits_ || is_code_width(*bits_), ErrorCode::usage, "--bits", "expected 2, 3, 4 or 8, found ", as.bits);
  require(as.group == -1 || as.group >= 1, ErrorCode::usage, "--group-size", "expected -1 or a positive number, found ",
          as.group);
  if (!pattern_.empty()) {
    const auto p = std::get<KeepOf>(parse_pattern(pattern_));
    as.kept = double(p.keep) / p.of;
  } else if (sparsity_) {
    require(*sparsity_ >= 0 && *sparsity_ < 1, ErrorCode::usage, "--sparsity",
            "expected a share from 0 to below 1, found ", *sparsity_);
    as.kept = 1 - *sparsity_;
  }
  return as;
}

TrainingPlan::Choice TrainingPlan::choose(CausalLM& model, TrainingShape shape, const std::optional<StoredAs>& stored,
                                          const TrainFlags& train, double taken) const {
  Choice c;
  c.limit = max_memory_.empty() ? available_bytes() + taken : parse_bytes("--max-memory", max_memory_);
  shape.checkpoint = true;
  TrainingMemory checkpointed = training_memory(model, shape, stored);
  shape.checkpoint = false;
  c.memory = training_memory(model, shape, stored);
  c.plain = c.memory.peak();
  c.checkpointed = checkpointed.peak();
  double held = 0;
  for (const MemoryTerm& term : c.memory.held) held += term.bytes;
  const double little = std::max(held, kLittle);
  c.on = train.grad_checkpoint || (!no_checkpoint_ && (c.plain > c.limit || c.plain - c.checkpointed > little));
  if (c.on) c.memory = std::move(checkpointed);
  return c;
}

bool TrainingPlan::checkpoint(CausalLM& model, TrainingShape shape, const TrainFlags& train, LogSink& log) {
  choice_ = choose(model, shape, {}, train, double(resident_bytes()));
  const Choice& c = *choice_;
  const double needed = c.memory.peak();
  if (needed > c.limit) {
    const std::string less = c.on ? "a smaller --batch or --seq-len takes less" : "--grad-checkpoint takes less";
    require(max_memory_.empty(), ErrorCode::usage, "--max-memory", human_bytes(c.limit), " is too little, about ",
            human_bytes(needed), " are needed; ", less);
    log.warn("training will take about " + human_bytes(needed) + " of memory, there are " + human_bytes(c.limit) +
             "; " + less);
  } else if (c.on && !train.grad_checkpoint) {
    log.note("blocks run again during backward, which takes " + human_bytes(c.checkpointed) +
             "; with activations kept it would be " + human_bytes(c.plain) + " (--no-grad-checkpoint), there are " +
             human_bytes(c.limit));
  }
  return c.on;
}

Json TrainingPlan::report() const {
  Json json{{"grad_checkpoint", choice_ && choice_->on}};
  if (choice_) json["memory_bytes"] = choice_->memory.peak();
  json["peak_rss_bytes"] = peak_rss_bytes();
  return json;
}

Json TrainingPlan::describe(Session& s, const std::string& dir, const TrainFlags& train, const Learning& learning,
                            std::int64_t prompt_rows, std::int64_t length, std::optional<std::int64_t> steps) const {
  std::optional<StoredAs> stored = stored_as();
  const bool real = !stored && holds_weights(dir);
  if (!real && !stored) stored = StoredAs{};
  const auto model = real ? load_model(dir, &s.log) : shape_model(read_config(dir));
  const std::int64_t T = train.seq_len.value_or(default_seq_len(length, model->config(), prompt_rows));
  constexpr std::int64_t kMany = 1 << 20;
  TrainingShape shape = training_shape(s, train, learning, T, prompt_rows, train.validation.empty() ? 0 : kMany);
  const Choice c = choose(*model, shape, stored, train, double(resident_bytes()));
  shape.checkpoint = c.on;
  const double flops = training_flops(*model, shape), rate = measured_rate(*model, stored, shape.rows(), s.compute),
               seconds = flops / rate;

  s.out << "memory of a pass over " << train.batch << " x " << T << " tokens";
  if (prompt_rows) s.out << " and " << prompt_rows << " prompt rows each";
  s.out << ", " << c.memory.parameters << " trainable values";
  s.out << "\nall the time\n";
  print_terms(s.out, c.memory.held);
  s.out << "one after the other, at their widest\n";
  print_terms(s.out, c.memory.phases);
  s.out << "at most " << human_bytes(c.memory.peak()) << " at once " << (c.on ? "with" : "without")
        << " checkpoints of activations (" << human_bytes(c.on ? c.plain : c.checkpointed)
        << (c.on ? " without" : " with") << " them); there are " << human_bytes(c.limit) << "\n"
        << "an update is " << fixed(flops / 1e12, 2) << " TFLOP, about " << human_time(seconds) << " at the "
        << fixed(rate / 1e9, 1) << " GFLOP/s of this machine, measured now";
  if (steps) s.out << "; " << *steps << " updates about " << human_time(seconds * double(*steps));
  s.out << "\n";
  Json json{{"parameters", c.memory.parameters},
            {"seq_len", T},
            {"memory_bytes", c.memory.peak()},
            {"embedding_bytes", c.memory.embedding},
            {"memory_bytes_plain", c.plain},
            {"memory_bytes_checkpointed", c.checkpointed},
            {"available_bytes", std::isfinite(c.limit) ? Json(c.limit) : Json(nullptr)},
            {"grad_checkpoint", c.on},
            {"held", terms_json(c.memory.held)},
            {"phases", terms_json(c.memory.phases)},
            {"flops_per_update", flops},
            {"flops_per_second", rate},
            {"seconds_per_update", seconds}};
  if (steps) json["seconds"] = seconds * double(*steps);
  return json;
}

TrainingShape training_shape(const Session& s, const TrainFlags& train, const Learning& learning, std::int64_t length,
                             std::int64_t prompt_rows, std::int64_t held_out) {
  TrainingShape shape{.learning = learning,
                      .batch = train.batch,
                      .length = length,
                      .prompt_rows = prompt_rows,
                      .accumulate = train.accumulate,
                      .validation_rows = held_out > 0 ? validation_rows(held_out, length, prompt_rows) : 0};
  shape.learning.compute = s.compute;
  return shape;
}

}  // namespace sinter
