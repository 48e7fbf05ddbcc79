#include "train/journey.h"

#include <chrono>

#include "models/checkpoint.h"

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

Tensor learn_prompt(const Journey& j, const CausalLM& model, LogSink& log) {
  PromptTask task(model.embed(Context{}, j.start).value().clone());
  TrainOptions o;
  o.steps = j.steps;
  o.evaluate_every = std::max<std::int64_t>(1, j.steps / 4);
  o.schedule = {.peak = j.lr, .warmup = std::max<std::int64_t>(1, j.steps / 10), .steps = j.steps};
  o.seed = j.seed;
  BatchSampler sampler(examples_of(j.learning), j.batch, j.seed);
  train(
      model, task, [&](std::int64_t s) { return sampler.at(s); },
      [&] { return prompt_validation(model, j.validation, task.prompt(), Compute::f32); }, o, log);
  return task.prompt();
}

}  // namespace

Perplexity measure(const Journey& j, const CausalLM& model, const Tensor& prompt, LogSink& log) {
  return perplexity(model, j.held_out, {.seq_len = j.seq_len, .soft_prompt = prompt}, log);
}

JourneyRow travel(const Journey& j, const Setting& setting, LogSink& log) {
  const auto start = std::chrono::steady_clock::now();
  JourneyRow row;
  row.setting = setting;
  row.model = load_model(j.model);
  row.bits_per_weight = source_bits(*row.model);
  if (!setting.method.empty()) {
    CompressPlan plan;
    plan.method = make_method(setting.method, setting.options);
    plan.sparsity = setting.sparsity;
    plan.seed = j.seed;
    row.bits_per_weight = weighted_bits(*row.model, compress(*row.model, j.calibration, plan, log));
  }
  const Perplexity before = measure(j, *row.model, {}, log);
  row.prompt = learn_prompt(j, *row.model, log);
  const Perplexity after = measure(j, *row.model, row.prompt, log);
  row.nll = before.nll;
  row.ppl = before.ppl;
  row.nll_prompt = after.nll;
  row.ppl_prompt = after.ppl;
  row.ppl_prompt_paper = after.ppl_paper;
  row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return row;
}

double gap_closed(const JourneyRow& row, double dense_nll) {
  return (row.nll - row.nll_prompt) / (row.nll - dense_nll);
}

}  // namespace sinter
