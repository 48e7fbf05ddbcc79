// Every variant of LLaMA and OPT against Hugging Face transformers (test/golden/models; made by make_models.py).
#include <doctest/doctest.h>

#include "core/basic_kernels.h"
#include "models/checkpoint.h"
#include "ops/concat.h"
#include "ops/elementwise.h"
#include "test/check.h"
#include "test/shared_data.h"

using namespace sinter;
using namespace sinter::test;

namespace {

const std::vector<std::string> kModels{
    "llama_mha_untied", "llama_gqa_tied",     "llama_rope_llama3",  "llama_rope_linear",  "llama_theta_old",
    "llama_theta_new",  "llama_head_dim",     "llama_bias",         "llama_bf16_sharded", "llama_f16",
    "opt_pre_norm",     "opt_post_norm_proj", "opt_no_model_prefix"};

struct Golden {
  explicit Golden(const std::string& name)
      : model(load_model(golden("models/" + name))), file(golden("models/" + name) / "golden.safetensors") {
    const Tensor t = file.tensor("ids");
    ids.assign(t.data<std::int32_t>().begin(), t.data<std::int32_t>().end());
  }
  std::vector<std::int32_t> targets(std::int64_t before = 0) const {
    std::vector<std::int32_t> t(std::size_t(before), -1);
    t.insert(t.end(), ids.begin() + 1, ids.end());
    t.push_back(-1);
    return t;
  }
  std::unique_ptr<CausalLM> model;
  TensorFile file;
  std::vector<std::int32_t> ids;
};

double largest(const Tensor& t) {
  double m = 0;
  for (float v : t.data<float>()) m = std::max(m, std::abs(double(v)));
  return m;
}
double relative(const Tensor& a, const Tensor& b) { return distance(a, b) / largest(b); }

Tensor forward(const CausalLM& m, std::span<const std::int32_t> ids, const Tensor& prompt, std::int64_t k) {
  const Context ctx;
  Var e = m.embed(ctx, ids);
  if (k) e = concat_rows(std::array{Var(prompt), e});
  const Layout layout = Layout::one(e.shape()[0]);
  return m.logits(ctx, m.run(ctx, m.enter(ctx, e, layout), m.all(), layout)).value();
}

}  // namespace

TEST_CASE("logits of every model variant equal transformers', with and without a soft prompt") {
  for (const auto& name : kModels) {
    CAPTURE(name);
    const Golden g(name);
    // f32 against f64 rounded once: transformers' own f32 run differs by up to 4e-6.
    CHECK(relative(forward(*g.model, g.ids, {}, 0), g.file.tensor("logits")) < 1e-5);
    const Tensor prompt = g.file.tensor("prompt");
    const std::int64_t k = prompt.shape()[0], n = k + std::int64_t(g.ids.size());
    CHECK(relative(forward(*g.model, g.ids, prompt, k).rows(k, n), g.file.tensor("prompt_logits")) < 1e-5);
  }
}

TEST_CASE("loss and its gradient with respect to prompt and input embeddings equal PyTorch's") {
  for (const auto& name : kModels) {
    CAPTURE(name);
    const Golden g(name);
    const double counted = double(g.ids.size() - 1);
    for (const bool checkpoint : {false, true}) {
      const Param input("input", g.model->embed(Context{}, g.ids).value().clone());
      const Param prompt("prompt", g.file.tensor("prompt").clone());
      for (const bool prompted : {false, true}) {
        const std::int64_t k = prompted ? prompt.value().shape()[0] : 0;
        Tape tape;
        const Context ctx{.tape = &tape, .checkpoint = checkpoint};
        const Var e = prompted ? concat_rows(std::array{ctx.use(prompt), Var(input.value())}) : ctx.use(input);
        const Layout layout = Layout::one(e.shape()[0]);
        const Var h = g.model->run(ctx, g.model->enter(ctx, e, layout), g.model->all(), layout);
        const Var loss = scale(g.model->loss(ctx, h, g.targets(k)), 1 / counted);
        CHECK(relative(loss.value(), g.file.tensor(prompted ? "prompt_loss" : "loss")) < 1e-5);
        const Grads grads = std::move(tape).backward(loss, Tensor::full({1}, 1, DType::f32));
        CHECK(grads.size() == 1);
        const Tensor* d = grads.find(prompted ? prompt : input);
        REQUIRE(d);
        CHECK(relative(*d, g.file.tensor(prompted ? "prompt_grad" : "input_grad")) < 1e-4);
      }
    }
  }
}

TEST_CASE("cached decoding equals the full forward, and greedy decoding equals transformers'") {
  for (const auto& name : kModels) {
    CAPTURE(name);
    const Golden g(name);
    const Context ctx;
    KvCache cache = g.model->make_cache(24);
    std::vector<std::int32_t> ids(g.ids.begin(), g.ids.begin() + 6);
    const Tensor want = g.file.tensor("greedy_ids");
    std::int64_t fed = 0;
    for (std::int64_t step = 0; step < want.numel(); ++step) {
      const std::int64_t n = std::int64_t(ids.size());
      const Layout layout = Layout::one(n - fed, fed);
      const Var e = g.model->embed(ctx, std::span(ids).subspan(std::size_t(fed)));
      const Var h = g.model->run(ctx, g.model->enter(ctx, e, layout), g.model->all(), layout, &cache);
      const Tensor z = g.model->logits(ctx, h.value().rows(n - fed - 1, n - fed)).value();
      const Tensor full = forward(*g.model, ids, {}, 0).rows(n - 1, n);
      CHECK(relative(z, full) < 1e-5);
      fed = n;
      const auto row = z.data<float>();
      ids.push_back(std::int32_t(std::max_element(row.begin(), row.end()) - row.begin()));
      REQUIRE(ids.back() == want.data<std::int32_t>()[std::size_t(step)]);
    }
  }
}

TEST_CASE("a batch of unequal sequences gives each what it gets alone") {
  for (const std::string name : {"llama_gqa_tied", "opt_post_norm_proj"}) {
    const Golden g(name);
    const Context ctx;
    const Layout both{{{0, 9, 0}, {9, 15, 0}}};
    const Var h = g.model->run(ctx, g.model->enter(ctx, g.model->embed(ctx, g.ids), both), g.model->all(), both);
    const Tensor z = g.model->logits(ctx, h).value();
    CHECK(relative(z.rows(0, 9), forward(*g.model, std::span(g.ids).first(9), {}, 0)) < 1e-5);
    CHECK(relative(z.rows(9, 24), forward(*g.model, std::span(g.ids).subspan(9), {}, 0)) < 1e-5);
  }
}

TEST_CASE("a prompt of real token embeddings is the text of these tokens") {
  const Golden g("opt_post_norm_proj");
  const Tensor prompt = g.model->embed(Context{}, std::span(g.ids).first(4)).value();
  const Tensor z = forward(*g.model, std::span(g.ids).subspan(4), prompt, 4);
  CHECK(relative(z, g.file.tensor("logits")) < 1e-5);
}
