#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "core/parallel.h"
#include "models/checkpoint.h"
#include "test/check.h"
#include "test/shared_data.h"
#include "train/eval/perplexity.h"
#include "train/prompt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

Windows random_windows(std::int64_t count, std::int64_t length, std::uint64_t seed) {
  Windows w;
  for (std::int64_t i = 0; i < count; ++i) {
    auto& ids = w.emplace_back();
    const Rng rng = Rng{seed}.fork(std::uint64_t(i));
    for (std::int64_t t = 0; t < length; ++t) ids.push_back(std::int32_t(rng.below(std::uint64_t(t), 97)));
  }
  return w;
}

// All bytes of all weights, so that a change anywhere shows.
std::string frozen_bytes(CausalLM& m) {
  std::string all;
  const auto add = [&](const Tensor& t) { all.append(reinterpret_cast<const char*>(t.raw()), t.bytes()); };
  m.each_matrix([&](const std::string&, Matrix& w) {
    for (const auto& [name, t] : std::get<FrozenWeightPtr>(w)->pack().parts) add(t);
  });
  m.each_weight([&](const std::string&, Weight& w) { add(std::get<Tensor>(w)); });
  m.each_linear([&](Linear& l) {
    for (const auto& [name, t] : l.frozen()->pack().parts) add(t);
    if (l.bias()) add(std::get<Tensor>(*l.bias()));
  });
  return all;
}

TrainOptions options(std::int64_t steps) {
  TrainOptions o;
  o.steps = steps;
  o.evaluate_every = 5;
  o.schedule = {.peak = 0.05, .warmup = 2, .steps = steps};
  return o;
}

struct Learned {
  Tensor prompt;
  TrainResult result;
};
Learned learn(const CausalLM& model, const TrainOptions& o, std::int64_t k = 4) {
  NullLog log;
  PromptTask task(random_prompt(model, k, Rng{3}));
  const Windows windows = random_windows(3, 12, 5);
  BatchSampler sampler(examples_of(windows), 1, 7);
  const TrainResult r = train(
      model, task, [&](std::int64_t s) { return sampler.at(s); },
      [&] { return prompt_validation(model, windows, task.prompt(), Compute::f32); }, o, log);
  return {task.prompt(), r};
}

}  // namespace

TEST_CASE(
    "prompt learning overfits a few windows, keeps the best prompt, and leaves every frozen byte as it was (card "
    "05.2)") {
  for (const std::string name : {"llama_gqa_tied", "opt_post_norm_proj"}) {
    CAPTURE(name);
    const auto model = load_model(golden("models/" + name));
    const std::string before = frozen_bytes(*model);
    const Learned l = learn(*model, options(40));
    CHECK(l.result.best_validation < l.result.first_validation - 0.1);
    CHECK(prompt_validation(*model, random_windows(3, 12, 5), l.prompt, Compute::f32) ==
          doctest::Approx(l.result.best_validation).epsilon(1e-6));
    CHECK(l.prompt.shape()[1] == model->config().word_width);
    CHECK(frozen_bytes(*model) == before);
    std::size_t params = 0;
    model->each_param([&](Param&) { ++params; });
    CHECK(params == 0);
  }
}

TEST_CASE("one step forms exactly one gradient, the prompt's, and x_0 is in no loss") {
  const auto model = load_model(golden("models/opt_pre_norm"));
  PromptTask task(random_prompt(*model, 3, Rng{1}));
  Batch batch = window_batch(random_windows(1, 10, 2)[0], 10);
  const auto step = [&](std::optional<Tensor>& gradient) {
    Tape tape;
    const Context ctx{.tape = &tape};
    const Var loss = task.loss(ctx, *model, batch);
    const Tensor value = loss.value();
    Grads g = std::move(tape).backward(loss, Tensor::full({1}, 1, DType::f32));
    CHECK(g.size() == 1);
    REQUIRE(g.find(*task.trainable()[0]));
    gradient = *g.find(*task.trainable()[0]);
    return value.data<float>()[0];
  };
  std::optional<Tensor> g;
  step(g);
  CHECK(g->shape() == Shape{3, model->config().word_width});
  CHECK(batch.counted() == 9);
  const Prompted p = run_batch(*model, Context{}, batch, Var(task.prompt()));
  CHECK(std::vector<std::int32_t>(p.targets.begin(), p.targets.begin() + 3) == std::vector<std::int32_t>{-1, -1, -1});
  CHECK(p.targets[3] == batch.ids[1]);  // the row of x_0 predicts x_1; nothing predicts x_0
}

TEST_CASE("the same seed gives the same prompt for 1, 2 and 3 threads") {
  const auto model = load_model(golden("models/llama_head_dim"));
  const int had = threads();
  Tensor first;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    const Tensor prompt = learn(*model, options(8), 5).prompt;
    if (!first) first = prompt;
    CHECK(std::memcmp(first.raw(), prompt.raw(), prompt.bytes()) == 0);
  }
  set_threads(had);
}

TEST_CASE("an interrupted run resumes from its snapshot and ends with the same bits") {
  struct StopAt final : LogSink {
    explicit StopAt(std::int64_t step) : at(step) {}
    void note(std::string_view) override {}
    void warn(std::string_view) override {}
    void progress(const Progress& p) override { done = p.done; }
    bool stop_requested() const override { return done >= at; }
    std::int64_t at, done = 0;
  };
  const auto model = load_model(golden("models/llama_mha_untied"));
  const auto snapshot = std::filesystem::temp_directory_path() / "sinter_prompt_test.state";
  std::filesystem::remove(snapshot);
  TrainOptions o = options(12);
  const Tensor whole = learn(*model, o).prompt;
  o.snapshot = snapshot;
  o.resume = true;
  const Windows windows = random_windows(3, 12, 5);
  const auto run = [&](LogSink& log) {
    PromptTask task(random_prompt(*model, 4, Rng{3}));
    BatchSampler sampler(examples_of(windows), 1, 7);
    train(
        *model, task, [&](std::int64_t s) { return sampler.at(s); },
        [&] { return prompt_validation(*model, windows, task.prompt(), Compute::f32); }, o, log);
    return task.prompt();
  };
  StopAt stop(7);
  CHECK_THROWS_CODE(interrupted, run(stop));
  REQUIRE(std::filesystem::exists(snapshot));
  o.settings.fixed = "another";
  NullLog quiet;
  CHECK_THROWS_CODE(input, run(quiet));
  o.settings.fixed = "";
  const Tensor resumed = run(quiet);
  CHECK(std::memcmp(whole.raw(), resumed.raw(), whole.bytes()) == 0);
  std::filesystem::remove(snapshot);
}

TEST_CASE("perplexity: a uniform model scores its vocabulary, batches do not matter, the paper's divisor (card 05.5)") {
  const auto model = load_model(golden("models/llama_gqa_tied"));
  NullLog log;
  std::vector<std::int32_t> ids;
  for (const auto& w : random_windows(1, 100, 9)) ids = w;
  const Perplexity all = perplexity(*model, ids, {.seq_len = 16}, log);
  CHECK(all.chunks == 6);
  CHECK(all.scored_tokens == 90);
  CHECK(all.token_nll.size() == 90);
  double sum = 0;
  for (std::size_t c = 0; c < 6; ++c)
    sum += perplexity(*model, std::span(ids).subspan(c * 16, 16), {.seq_len = 16}, log).nll / 6;
  CHECK(all.nll == doctest::Approx(sum).epsilon(1e-6));
  CHECK(all.ppl == all.ppl_paper);
  const Tensor prompt = random_prompt(*model, 5, Rng{1});
  const Perplexity p = perplexity(*model, ids, {.seq_len = 16, .soft_prompt = prompt}, log);
  CHECK(p.ppl_paper == doctest::Approx(std::pow(p.ppl, 15.0 / 20.0)).epsilon(1e-9));

  auto uniform = random_model(model->config(), 1);
  uniform->each_param([](Param& q) { q.assign(Tensor::zeros(q.value().shape(), DType::f32)); });
  CHECK(perplexity(*uniform, ids, {.seq_len = 16}, log).ppl == doctest::Approx(97).epsilon(1e-6));
  CHECK_THROWS_CODE(usage, perplexity(*model, ids, {.seq_len = 101}, log));
}

TEST_CASE("perplexity in the way of llama.cpp: each chunk begins with <s>, its second half is scored") {
  const auto model = load_model(golden("models/llama_gqa_tied"));
  NullLog log;
  std::vector<std::int32_t> ids;
  for (const auto& w : random_windows(1, 70, 9)) ids = w;
  const Perplexity got = perplexity(*model, ids, {.seq_len = 17, .first = 1, .context = 8}, log);
  CHECK(got.scored_tokens == 4 * 8);
  std::vector<std::int32_t> begun = ids;
  for (std::size_t c = 0; c < 4; ++c) begun[17 * c] = 1;
  const Perplexity whole = perplexity(*model, begun, {.seq_len = 17}, log);
  REQUIRE(whole.token_nll.size() == 4 * 16);
  double sum = 0;
  for (std::size_t i = 0; i < whole.token_nll.size(); ++i)
    if (i % 16 >= 8) sum += double(whole.token_nll[i]);
  CHECK(got.nll == doctest::Approx(sum / 32).epsilon(1e-12));
  CHECK_THROWS_CODE(usage, perplexity(*model, ids, {.seq_len = 9, .context = 8}, log));
}
