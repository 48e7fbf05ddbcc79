#include "train/training_memory.h"

#include <nlohmann/json.hpp>

#include "core/parallel.h"
#include "models/checkpoint.h"
#include "models/llama.h"
#include "models/opt.h"
#include "models/weights/formats.h"
#include "test/check.h"
#include "train/compress/result.h"
#include "train/full.h"
#include "train/prompt.h"

namespace sinter {
namespace {

using What = Learning::What;

ModelConfig config_of(Family family, const char* activation = "relu") {
  Json c{{"model_type", family == Family::llama ? "llama" : "opt"},
         {"vocab_size", 512},
         {"hidden_size", 128},
         {"num_hidden_layers", 3},
         {"num_attention_heads", 4},
         {"max_position_embeddings", 512}};
  if (family == Family::llama) c.update(Json{{"intermediate_size", 352}, {"num_key_value_heads", 2}});
  else c.update(Json{{"ffn_dim", 512}, {"activation_function", activation}});
  return parse_config(c, "tiny");
}

// Random values; the linears of the blocks in 4-bit groups.
class RandomSource final : public TensorSource {
 public:
  bool has(const std::string&) const override { return false; }
  Tensor vector(const std::string&, Shape shape) override { return Tensor::full(shape, 0.1, DType::f32); }
  FrozenWeightPtr matrix(const std::string& name, std::int64_t out, std::int64_t in) override {
    const Tensor w = test::randn({out, in}, stream_++, DType::f32);
    if (name.find("layers.") == std::string::npos) return freeze_dense(cast(w, DType::bf16));
    const Grid grid = find_grid(w, {.bits = 4, .group = 32}, "test");
    return freeze_grouped_int(pack_grid(nearest_codes(w, grid, 4), grid, 4, {}));
  }

 private:
  std::uint64_t stream_ = 1;
};

std::unique_ptr<CausalLM> frozen_model(const ModelConfig& c) {
  RandomSource source;
  return c.family == Family::llama ? make_llama(c, source) : make_opt(c, source);
}

struct Case {
  Learning::What what;
  AdapterPlan::Kind kind = AdapterPlan::Kind::spp;
  double dropout = 0;
  std::string name{};
};
const Case kCases[] = {{What::prompt, {}, 0, "prompt"},
                       {What::adapters, AdapterPlan::Kind::spp, 0, "spp, one product"},
                       {What::adapters, AdapterPlan::Kind::spp, 0.05, "spp with dropout"},
                       {What::adapters, AdapterPlan::Kind::lora, 0, "lora"},
                       {What::adapters, AdapterPlan::Kind::lora, 0.05, "lora with dropout"},
                       {What::full, {}, 0, "full"}};

TrainingShape shape_of(const Case& c) {
  TrainingShape s{.learning = {c.what, {.kind = c.kind, .rank = 16, .dropout = c.dropout}}, .batch = 2, .length = 256};
  if (c.what == What::prompt) s.prompt_rows = 32;
  return s;
}

std::unique_ptr<Task> task_of(CausalLM& model, const TrainingShape& s) {
  if (s.learning.what == What::prompt) return std::make_unique<PromptTask>(random_prompt(model, s.prompt_rows, Rng{3}));
  if (s.learning.what == What::full) {
    thaw(model);
    return std::make_unique<FullTask>(model, false);
  }
  attach_adapters(model, s.learning.adapters, 5);
  return std::make_unique<AdapterTask>(model);
}

double frozen_bytes(CausalLM& model) {
  double bytes = 0;
  model.each_linear([&](const Linear& l) { bytes += double(stored_bytes(*l.frozen())); });
  model.each_matrix(
      [&](const std::string&, const Matrix& m) { bytes += double(stored_bytes(*std::get<FrozenWeightPtr>(m))); });
  return bytes;
}

struct Run {
  double peak = 0;  // bytes beside the frozen weights
  std::vector<Tensor> learned;
};

// Two updates.
Run run(CausalLM& model, const TrainingShape& s) {
  Allocator& memory = allocator_of({});
  memory.reset_peak();
  const auto before = double(memory.stats().live), frozen = frozen_bytes(model);
  std::vector<std::int32_t> ids;
  const Rng rng{11};
  for (std::int64_t i = 0; i < s.batch * s.length; ++i) ids.push_back(std::int32_t(rng.below(std::uint64_t(i), 512)));
  const Batch batch = window_batch(ids, s.length);
  const auto task = task_of(model, s);
  NullLog log;
  TrainOptions o;
  o.steps = 2;
  o.accumulate = s.accumulate;
  o.schedule.steps = 2;
  o.checkpoint = s.checkpoint;
  o.compute = s.learning.compute;
  (void)train(
      model, *task, [&](std::int64_t) { return batch; }, {}, o, log);
  Run r;
  r.peak = double(memory.stats().peak) - before;
  if (s.learning.what == What::full) r.peak += frozen;  // was alive before, and is no more
  for (const Param* p : task->trainable()) r.learned.push_back(p->value());
  return r;
}

// What the estimate says beside the frozen weights and the program.
double expected(const TrainingMemory& m) {
  double bytes = m.peak();
  for (const auto& t : m.held)
    if (t.what == "program" || t.what.starts_with("the linears") || t.what.starts_with("embedding") ||
        t.what.starts_with("head"))
      bytes -= t.bytes;
  return bytes;
}

}  // namespace

TEST_CASE("the estimate of training memory is what a run takes, and checkpoints change no bit") {
  const int before = threads();
  set_threads(1);
  for (const Family family : {Family::llama, Family::opt})
    for (const Case& c : kCases) {
      std::vector<Tensor> learned;
      for (const bool checkpoint : {false, true}) {
        TrainingShape s = shape_of(c);
        s.checkpoint = checkpoint;
        const auto model = frozen_model(config_of(family));
        const TrainingMemory m = training_memory(*model, s);
        const Run r = run(*model, s);
        CAPTURE(family == Family::llama);
        CAPTURE(c.name);
        CAPTURE(checkpoint);
        CAPTURE(expected(m));
        CAPTURE(r.peak);
        CHECK(std::abs(expected(m) / r.peak - 1) < 0.05);
        if (checkpoint)
          for (std::size_t i = 0; i < learned.size(); ++i) CHECK(test::same_bits(r.learned[i], learned[i]));
        learned = r.learned;
      }
    }
  set_threads(before);
}

}  // namespace sinter
