// Prompt, SPP and LoRA over every frozen format: gradients, the first step, what is formed and what stays.
#include "core/parallel.h"
#include "test/gradcheck.h"
#include "test/train/frozen_models.h"
#include "train/adapt.h"
#include "train/prompt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

struct Kind {
  const char* name;
  std::optional<AdapterPlan::Kind> adapter;  // else a prompt
  double dropout = 0;
};
// SPP without dropout is one fused product, with dropout it is equation 7.
constexpr Kind kPrompt{"prompt", {}}, kSpp{"SPP, fused", AdapterPlan::Kind::spp},
    kSpp7{"SPP, equation 7", AdapterPlan::Kind::spp, 0.3}, kLora{"LoRA", AdapterPlan::Kind::lora},
    kLoraDropout{"LoRA with dropout", AdapterPlan::Kind::lora, 0.3};

constexpr std::int64_t kPromptRows = 2;

// A frozen model and what is learned over it.
struct Healing {
  std::unique_ptr<CausalLM> model;
  std::unique_ptr<Task> task;
  const Param* prompt = nullptr;

  Healing(Family family, const Format& format, const Kind& kind, std::int64_t width, DType type)
      : model(tiny_model(family, format, width, type)) {
    if (kind.adapter) {
      attach_adapters(*model, {*kind.adapter, 2, 0.7, kind.dropout, ""}, 3);
      task = std::make_unique<AdapterTask>(*model);
    } else {
      task = std::make_unique<PromptTask>(randn({kPromptRows, model->config().word_width}, 99, type));
      prompt = task->trainable()[0];
    }
  }

  // Σ of the negative log-likelihoods of kIds, in the type of the vectors.
  Var loss(const Context& ctx) const {
    std::vector<std::int32_t> targets(kIds.begin() + 1, kIds.end());
    targets.push_back(-1);
    Var e = cast(model->embed({}, kIds).value(), DType::f64);
    if (prompt) {
      e = concat_rows(std::array{ctx.use(*prompt), e});
      targets.insert(targets.begin(), kPromptRows, -1);
    }
    const Layout layout = Layout::one(e.shape()[0]);
    return model->loss(ctx, model->run(ctx, model->enter(ctx, e, layout), model->all(), layout), targets);
  }
};

// The worst |tape − differences|, relative to the largest element of the Param's gradient; of each Param every
// `stride`-th element. Dropout draws the same in all passes.
double gradient_error(const Healing& h, std::int64_t stride) {
  const auto at = [](Tape& tape) { return Context{.tape = &tape, .rng = Rng{5}}; };
  Tape tape;
  const Var y = h.loss(at(tape));
  const Grads grads = std::move(tape).backward(y, ones({1}));
  const auto params = h.task->trainable();
  CHECK(grads.size() == params.size());
  double worst = 0;
  for (std::size_t k = 0; k < params.size(); ++k) {
    Param& p = *params[k];
    const Tensor value = p.value();
    const Tensor* g = grads.find(p);
    if (!g || g->shape() != value.shape() || g->dtype() != DType::f64) return INFINITY;
    const double size = std::max(largest(*g), 1e-4);
    for (std::int64_t i = std::int64_t(k) % stride; i < value.numel(); i += stride) {
      const auto moved = [&](double step) {
        p.assign(bumped(value, i, step));
        Tape again;
        return value_at(h.loss(at(again)).value(), 0);
      };
      const double d = std::abs(difference(moved, value_at(value, i)) - value_at(*g, i)) / size;
      worst = std::isnan(d) ? INFINITY : std::max(worst, d);
    }
    p.assign(value);
  }
  return worst;
}

// f for every family and format, and each of the kinds.
template <class F>
void each(std::initializer_list<Kind> kinds, F f) {
  for (const Family family : kFamilies)
    for (const Format& format : every_format())
      for (const Kind& kind : kinds) {
        CAPTURE(int(family));
        CAPTURE(format.name);
        CAPTURE(kind.name);
        f(family, format, kind);
      }
}

}  // namespace

TEST_CASE("gradients of prompt, alpha, beta, A and B agree with differences through both families over every format") {
  each({kPrompt, kSpp, kSpp7, kLora}, [](Family family, const Format& format, const Kind& kind) {
    const Healing h(family, format, kind, 8, DType::f64);
    set_factors(*h.model, DType::f64);
    CHECK(gradient_error(h, kind.adapter ? 13 : 2) < kGradTolerance);
  });
}

TEST_CASE("every element of prompt, alpha, beta, A and B agrees with differences") {
  for (const Family family : kFamilies)
    for (const Kind& kind : {kPrompt, kSpp, kSpp7, kLora, kLoraDropout}) {
      const Healing h(family, joint_format({2, 4}, {4}), kind, 8, DType::f64);
      set_factors(*h.model, DType::f64);
      CHECK(gradient_error(h, 1) < kGradTolerance);
    }
}

TEST_CASE("a fresh adapter changes no bit of the logits, and at the first step alpha and A have a gradient of zeros") {
  each({kSpp, kSpp7, kLora, kLoraDropout}, [](Family family, const Format& format, const Kind& kind) {
    const auto plain = tiny_model(family, format);
    const Healing h(family, format, kind, 16, DType::f32);
    for (const Compute compute : {Compute::f32, Compute::bf16}) {
      const Context ctx{.compute = compute};
      CHECK(same_bits(logits(*h.model, ctx), logits(*plain, ctx)));
      Tape tape;
      CHECK(same_bits(logits(*h.model, {.tape = &tape, .compute = compute}), logits(*plain, ctx)));
    }
    Tape tape;
    const Example e{kIds, {5, 9, 22, 4, 17, -1}};
    const Example* one = &e;
    const Var y = h.task->loss({.tape = &tape}, *h.model, batch_of(std::span(&one, 1)));
    const Grads g = std::move(tape).backward(y, ones({1}, DType::f32));
    for (const Param* p : h.task->trainable()) {
      const bool still = p->name().ends_with("spp_alpha") || p->name().ends_with("lora_A.weight");
      CHECK((largest(*g.find(*p)) == 0) == still);
    }
  });
}

TEST_CASE("learning a prompt, SPP or LoRA leaves every packed byte, and forms the gradients of its own Params alone") {
  const std::vector<Example> examples{{kIds, {5, 9, 22, 4, 17, -1}}};
  each({kPrompt, kSpp, kSpp7, kLora}, [&](Family family, const Format& format, const Kind& kind) {
    const Healing h(family, format, kind, 16, DType::f32);
    const auto before = packed_parts(*h.model);
    BatchSampler sampler(examples, 1, 1);
    const auto params = h.task->trainable();
    Tape tape;
    const Var y = h.task->loss({.tape = &tape, .rng = Rng{5}}, *h.model, sampler.at(0));
    const Grads g = std::move(tape).backward(y, ones({1}, DType::f32));
    CHECK(g.size() == params.size());
    for (const Param* p : params) CHECK((g.find(*p) && g.find(*p)->shape() == p->value().shape()));
    TrainOptions o;
    o.steps = 2;
    o.schedule = {.peak = 0.05, .steps = 2};
    NullLog log;
    const Tensor start = params.back()->value().clone();
    (void)train(
        *h.model, *h.task, [&](std::int64_t step) { return sampler.at(step); }, {}, o, log);
    CHECK(!same_bits(params.back()->value(), start));
    CHECK(same_parts(packed_parts(*h.model), before));
  });
}

TEST_CASE("forward and backward through an adapter on a 2048 x 2048 linear allocate nothing of the weight's size") {
  const int had = threads();
  set_threads(2);  // each has a strip of its own
  constexpr std::int64_t kBig = 2048, kRows = 8;
  constexpr std::size_t kOneByte = kBig * kBig;  // smaller than the dense weight in any type
  Tensor values = Tensor::empty({kBig, kBig}, DType::f32);
  std::uint32_t i = 0;
  for (float& v : values.mutable_data<float>()) v = float(i++ * 2654435761u >> 24) / 128 - 1;
  const Tensor x = randn({kRows, kBig}, 2, DType::f32);
  const Tensor bias = randn({kBig}, 3, DType::f32), dy = randn({kRows, kBig}, 4, DType::f32);
  const Codes codes{.bits = 4, .group = 128};
  for (const Format& format : {dense_format(DType::bf16), dense_format(DType::f32), code_format(codes),
                               sparse_format({2, 4}, DType::bf16), joint_format({0, 0}, codes)})
    for (const Kind& kind : {kSpp, kSpp7, kLora, kLoraDropout})
      for (const Compute compute : {Compute::f32, Compute::bf16}) {
        CAPTURE(format.name);
        CAPTURE(kind.name);
        Linear l("layer", format.freeze(values), Weight(bias));
        const bool spp = *kind.adapter == AdapterPlan::Kind::spp;
        l.attach((spp ? make_spp_adapter : make_lora_adapter)("layer", *l.frozen(), {16, 2, kind.dropout}, Rng{1}));
        const Param input("x", x);
        Allocator& memory = allocator_of({});
        memory.reset_peak();
        const std::size_t base = memory.stats().live;
        Tape tape;
        const Var y = l.forward({.tape = &tape, .rng = Rng{5}, .compute = compute}, tape.leaf(input));
        const Grads g = std::move(tape).backward(y, dy);
        CHECK(g.size() == 3);
        CHECK(memory.stats().largest < kOneByte);
        CHECK(memory.stats().peak - base < 2 * kOneByte);
      }
  set_threads(had);
}
