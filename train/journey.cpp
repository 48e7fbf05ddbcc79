#include "train/journey.h"

#include <chrono>

#include "models/checkpoint.h"
#include "train/merge.h"

namespace sinter {
namespace {

double source_bits(CausalLM& model) {
  double bits = 0, weights = 0;
  model.each_linear([&](Linear& l) {
    bits += 8.0 * double(stored_bytes(*l.frozen()));
    weights += double(l.out_features() * l.in_features());
  });
  return bits / weights;
}

double weighted_bits(CausalLM& model, const std::vector<LayerReport>& reports) {
  double bits = 0, weights = 0;
  std::size_t i = 0;
  model.each_linear([&](Linear& l) {
    const double n = double(l.out_features() * l.in_features());
    bits += n * reports.at(i++).bits_per_weight;
    weights += n;
  });
  return bits / weights;
}

// A dense model of its own, then as the setting says.
struct Compressed {
  std::unique_ptr<CausalLM> model;
  double bits_per_weight = 0;
};

Compressed compressed(const Journey& j, const Setting& setting, LogSink& log) {
  Compressed c{load_model(j.model), 0};
  c.bits_per_weight = source_bits(*c.model);
  if (setting.method.empty()) return c;
  CompressPlan plan;
  plan.method = make_method(setting.method, setting.options);
  plan.sparsity = setting.sparsity;
  plan.seed = j.seed;
  c.bits_per_weight = weighted_bits(*c.model, compress(*c.model, j.calibration, plan, log));
  return c;
}

// Both kinds of healing learn from the same windows in the same order, and keep the best state by the same validation.
void learn(const Journey& j, const CausalLM& model, Task& task, double lr, const std::function<double()>& validate,
           LogSink& log) {
  TrainOptions o;
  o.steps = j.steps;
  o.evaluate_every = std::max<std::int64_t>(1, j.steps / 4);
  o.schedule = {.peak = lr, .warmup = std::max<std::int64_t>(1, j.steps / 10), .steps = j.steps};
  o.seed = j.seed;
  BatchSampler sampler(examples_of(j.learning), j.batch, j.seed);
  train(
      model, task, [&](std::int64_t s) { return sampler.at(s); }, validate, o, log);
}

Tensor learn_prompt(const Journey& j, const CausalLM& model, LogSink& log) {
  PromptTask task(model.embed(Context{}, j.start).value().clone());
  learn(
      j, model, task, j.lr, [&] { return prompt_validation(model, j.validation, task.prompt(), Compute::f32); }, log);
  return task.prompt();
}

void learn_spp(const Journey& j, CausalLM& model, LogSink& log) {
  attach_adapters(model, j.spp, j.seed);
  AdapterTask task(model);
  learn(
      j, model, task, j.spp_lr, [&] { return prompt_validation(model, j.validation, Tensor(), Compute::f32); }, log);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Perplexity measure(const Journey& j, const CausalLM& model, const Tensor& prompt, LogSink& log) {
  return perplexity(model, j.held_out, {.seq_len = j.seq_len, .soft_prompt = prompt}, log);
}

JourneyRow travel(const Journey& j, const Setting& setting, LogSink& log) {
  const auto start = std::chrono::steady_clock::now();
  JourneyRow row;
  row.setting = setting;
  Compressed c = compressed(j, setting, log);
  row.model = std::move(c.model);
  row.bits_per_weight = c.bits_per_weight;
  const Perplexity before = measure(j, *row.model, {}, log);
  row.prompt = learn_prompt(j, *row.model, log);
  const Perplexity after = measure(j, *row.model, row.prompt, log);
  row.nll = before.nll;
  row.ppl = before.ppl;
  row.nll_prompt = after.nll;
  row.ppl_prompt = after.ppl;
  row.ppl_prompt_paper = after.ppl_paper;
  row.seconds = seconds_since(start);
  return row;
}

TunedRow tune(const Journey& j, const Setting& setting, LogSink& log) {
  const auto start = std::chrono::steady_clock::now();
  TunedRow row;
  row.setting = setting;
  const Compressed c = compressed(j, setting, log);
  row.bits_per_weight = c.bits_per_weight;
  const Perplexity before = measure(j, *c.model, {}, log);
  learn_spp(j, *c.model, log);
  const Perplexity after = measure(j, *c.model, {}, log);
  const auto merged = merge_adapters(*c.model, {.requantise = true}, log);
  for (const MergeReport& r : merged) {
    row.zeros += r.zeros_before / double(merged.size());
    row.zeros_merged += r.zeros_after / double(merged.size());
  }
  row.nll = before.nll;
  row.ppl = before.ppl;
  row.nll_spp = after.nll;
  row.ppl_spp = after.ppl;
  row.ppl_merged = measure(j, *c.model, {}, log).ppl;
  row.seconds = seconds_since(start);
  return row;
}

double gap_closed(const JourneyRow& row, double dense_nll) {
  return (row.nll - row.nll_prompt) / (row.nll - dense_nll);
}

}  // namespace sinter
