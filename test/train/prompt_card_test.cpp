// What a soft prompt is, checked on models of both families (method card 05 §10; 1 is in adapter_gradient_test.cpp, 2 and
// 5 are in prompt_test.cpp).
#include <doctest/doctest.h>

#include <cmath>

#include "core/tensor_file.h"
#include "models/checkpoint.h"
#include "test/check.h"
#include "test/shared_data.h"
#include "train/prompt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

const std::vector<std::string> kModels{"llama_gqa_tied", "llama_rope_llama3", "opt_pre_norm", "opt_post_norm_proj"};
const std::vector<std::int32_t> kIds{5, 17, 3, 90, 41, 8, 66, 23, 3, 12};

// [n, V]: the rows after the k of the prompt.
Tensor logits(const CausalLM& model, const Prompted& p, std::int64_t k) {
  return model.logits(Context{}, p.hidden.value().rows(k, p.hidden.shape()[0])).value();
}
Tensor embedded(const CausalLM& model, std::span<const std::int32_t> ids) {
  return model.embed(Context{}, ids).value().clone();
}

double loss_of_row(const Tensor& logits, std::int64_t row, std::int32_t target) {
  double sum = 0;
  const Tensor z = logits.rows(row, row + 1);
  for (const float v : z.data<float>()) sum += std::exp(double(v));
  return std::log(sum) - double(z.data<float>()[std::size_t(target)]);
}

}  // namespace

TEST_CASE("no prompt is the plain model, and a prompt of real words is these words in front of the text (card 05.3)") {
  for (const auto& name : kModels) {
    CAPTURE(name);
    const auto model = load_model(golden("models/" + name));
    const auto n = std::int64_t(kIds.size());
    const Tensor plain = logits(*model, run_batch(*model, Context{}, window_batch(kIds, n), Var()), 0);
    const Layout layout = Layout::one(n);
    const Var h = model->enter(Context{}, model->embed(Context{}, kIds), layout);
    CHECK(same_bits(plain, model->logits(Context{}, model->run(Context{}, h, model->all(), layout)).value()));
    for (const std::int64_t k : {1, 4}) {
      const auto words = std::span(kIds).first(std::size_t(k)), text = std::span(kIds).subspan(std::size_t(k));
      const Prompted p = run_batch(*model, Context{}, window_batch(text, n - k), Var(embedded(*model, words)));
      CHECK(distance(logits(*model, p, k), plain.rows(k, n)) < 1e-5);
    }
  }
}

TEST_CASE("the loss is that of x_1 and on: what the last prompt row makes of x_0 is not in it (card 05.4)") {
  for (const auto& name : kModels) {
    CAPTURE(name);
    const auto model = load_model(golden("models/" + name));
    const Tensor prompt = random_prompt(*model, 3, Rng{1});
    const auto loss = [&](const std::vector<std::int32_t>& ids) {
      const Batch batch = window_batch(ids, std::int64_t(ids.size()));
      return double(batch_loss(*model, Context{}, batch, Var(prompt)).value().data<float>()[0]);
    };
    const Prompted p = run_batch(*model, Context{}, window_batch(kIds, std::int64_t(kIds.size())), Var(prompt));
    CHECK(p.targets[2] == -1);  // the row of e_3, which would predict x_0
    const Tensor z = logits(*model, p, 3);
    double want = 0;
    for (std::size_t t = 1; t < kIds.size(); ++t) want += loss_of_row(z, std::int64_t(t) - 1, kIds[t]);
    CHECK(loss(kIds) == doctest::Approx(want).epsilon(1e-5));
    // One token alone is only ever an x_0: nothing is scored, whatever it is.
    CHECK(loss({kIds[0]}) == 0);
    CHECK(loss({kIds[1]}) == 0);
  }
}

TEST_CASE("one window, 200 steps: the loss falls and falls (card 05.6)") {
  for (const std::string name : {"llama_gqa_tied", "opt_post_norm_proj"}) {
    CAPTURE(name);
    const auto model = load_model(golden("models/" + name));
    PromptTask task(random_prompt(*model, 4, Rng{3}));
    const Windows window{kIds};
    TrainOptions o;
    o.steps = 200;
    o.evaluate_every = 40;
    o.schedule = {.peak = 0.02, .warmup = 10, .steps = 200};
    BatchSampler sampler(examples_of(window), 1, 0);
    std::vector<double> losses;
    NullLog log;
    train(
        *model, task, [&](std::int64_t step) { return sampler.at(step); },
        [&] {
          losses.push_back(prompt_validation(*model, window, task.prompt(), Compute::f32));
          return losses.back();
        },
        o, log);
    REQUIRE(losses.size() >= 6);
    for (std::size_t i = 1; i < 6; ++i) CHECK(losses[i] < losses[i - 1]);
  }
}

TEST_CASE("a prompt of OPT-350m has the width of the words and goes through project_in (card 05.7)") {
  const auto model = load_model(golden("models/opt_post_norm_proj"));
  const Tensor prompt = random_prompt(*model, 3, Rng{2});
  REQUIRE(prompt.shape() == Shape{3, 20});
  const Tensor got = model->enter(Context{}, Var(prompt), Layout::one(3)).value();
  REQUIRE(got.shape() == Shape{3, 32});
  const Tensor in = model->ends().project_in->dense(), positions = values(*model->ends().positions);
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t j = 0; j < 32; ++j) {
      double want = value_at(positions, (i + 2) * 32 + j);  // the table starts two rows late
      for (std::int64_t w = 0; w < 20; ++w) want += value_at(prompt, i * 20 + w) * value_at(in, j * 20 + w);
      CHECK(value_at(got, i * 32 + j) == doctest::Approx(want).epsilon(1e-4));
    }
}

TEST_CASE("the first token of the text is at position k, in rotation angles and in tables (card 05.8)") {
  for (const auto& name : kModels) {
    CAPTURE(name);
    const auto model = load_model(golden("models/" + name));
    const Tensor prompt = random_prompt(*model, 6, Rng{4});
    const auto n = std::int64_t(kIds.size());
    const Tensor got = logits(*model, run_batch(*model, Context{}, window_batch(kIds, n), Var(prompt)), 6);
    // The same by a cache: the prompt at 0 .. 5, then the text from `position` on.
    const auto cached = [&](std::int64_t position) {
      KvCache cache = model->make_cache(6 + n);
      const Layout first = Layout::one(6, 0), then = Layout::one(n, position);
      model->run(Context{}, model->enter(Context{}, Var(prompt), first), model->all(), first, &cache);
      const Var h = model->enter(Context{}, model->embed(Context{}, kIds), then);
      return model->logits(Context{}, model->run(Context{}, h, model->all(), then, &cache)).value();
    };
    CHECK(distance(got, cached(6)) < 1e-5);
    CHECK(distance(got, cached(7)) > 1e-3);
  }
}
