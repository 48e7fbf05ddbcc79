#include "models/adapter.h"

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "models/checkpoint.h"
#include "models/shape_model.h"
#include "models/weights/formats.h"
#include "test/check.h"
#include "test/temp_dir.h"
#include "train/adapter_file.h"
#include "train/compress/freeze.h"
#include "train/compress/result.h"
#include "train/full.h"
#include "train/merge.h"

namespace sinter {
namespace {

using test::randn;
using test::TempDir;

ModelConfig tiny() {
  return parse_config(parse_json(R"({"model_type": "llama", "vocab_size": 64, "hidden_size": 32,
      "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64})",
                                 "tiny"),
                      "tiny");
}

// Frozen, with the linears made by `make` of their dense values.
template <class F>
std::unique_ptr<CausalLM> frozen_model(F&& make) {
  auto model = shape_model(tiny());
  std::uint64_t stream = 1;
  const auto values = [&](std::int64_t m, std::int64_t n) {
    Tensor t = randn({m, n}, stream++, DType::f32);
    for (float& v : t.mutable_data<float>()) v *= 0.1f;
    return t;
  };
  model->each_matrix([&](const std::string&, Matrix& m) {
    const auto& w = *std::get<FrozenWeightPtr>(m);
    m = freeze_dense(values(w.out_features(), w.in_features()));
  });
  model->each_weight([&](const std::string&, Weight& w) {
    const Shape shape = std::get<Tensor>(w).shape();
    w = Tensor::full(shape, 1, DType::f32);
  });
  model->each_linear([&](Linear& l) { l.replace(make(values(l.out_features(), l.in_features()))); });
  return model;
}

FrozenWeightPtr dense(Tensor w) { return freeze_dense(std::move(w)); }

// n:m or unstructured zeros; values or 4-bit codes.
FrozenWeightPtr sparse(Tensor w, KeepOf pattern, bool codes) {
  const auto v = w.mutable_data<float>();
  for (std::size_t i = 0; i < v.size(); ++i)
    if (pattern.of ? int(i % std::size_t(pattern.of)) >= pattern.keep : i % 3 == 0) v[i] = 0;
  LayerResult r;
  r.dense = w;
  if (codes) {
    const GridRule rule{.bits = 4, .group = 16};
    const Grid grid = find_grid(w, rule, "test");
    const Tensor c = nearest_codes(w, grid, 4);
    r.dense = dequantise(c, grid);
    r.packed = pack_grid(c, grid, 4);
  }
  const Sparsity s = pattern.of ? Sparsity(pattern) : Sparsity(Fraction{1. / 3});
  return freeze(std::move(r), s, DType::f32, true);
}

void set_random(CausalLM& model) {
  std::uint64_t stream = 1000;
  model.each_linear([&](Linear& l) {
    l.each_param([&](Param& p) {
      Tensor t = randn(p.value().shape(), stream++, DType::f32);
      for (float& v : t.mutable_data<float>()) v *= 0.2f;
      p.assign(t);
    });
  });
}

const std::vector<std::int32_t> kIds{1, 5, 9, 22, 40, 3, 17};

Tensor logits(const CausalLM& model) {
  const Context ctx;
  const Layout layout = Layout::one(std::int64_t(kIds.size()));
  return model.logits(ctx, model.run(ctx, model.enter(ctx, model.embed(ctx, kIds), layout), model.all(), layout))
      .value();
}

std::vector<bool> zeros(CausalLM& model) {
  std::vector<bool> out;
  model.each_linear([&](Linear& l) {
    const Tensor w = l.dense();
    for (const float v : w.data<float>()) out.push_back(v == 0 && !std::signbit(v));
  });
  return out;
}

NullLog silent;

AdapterPlan plan(AdapterPlan::Kind kind) { return {kind, 4, 0.5, 0.05, ""}; }

}  // namespace

TEST_CASE("an adapter on disk: what is loaded gives the same logits, for SPP and LoRA") {
  for (const auto kind : {AdapterPlan::Kind::spp, AdapterPlan::Kind::lora}) {
    const TempDir dir;
    auto model = frozen_model(dense), other = frozen_model(dense);
    const Tensor before = logits(*model);
    attach_adapters(*model, plan(kind), 3);
    CHECK(test::same_bits(logits(*model), before));
    set_random(*model);
    save_adapter(dir / "a", *model, plan(kind), {"base", {}});
    load_adapter(dir / "a", *other);
    CHECK(test::same_bits(logits(*model), logits(*other)));
    CHECK(!test::same_bits(logits(*model), before));
  }
}

TEST_CASE("an adapter that does not fit is refused by file and tensor") {
  const TempDir dir;
  auto model = frozen_model(dense);
  attach_adapters(*model, plan(AdapterPlan::Kind::lora), 3);
  save_adapter(dir / "a", *model, plan(AdapterPlan::Kind::lora), {"base", {}});
  const auto config = dir / "a/adapter_config.json", tensors = dir / "a/adapter_model.safetensors";
  const std::string good = read_text(config);
  write_text_atomic(config, R"({"peft_type": "IA3"})");
  CHECK_THROWS_TEXT(input, "peft_type", load_adapter(dir / "a", *model));
  write_text_atomic(config, R"({"peft_type": "LORA", "use_dora": true})");
  CHECK_THROWS_TEXT(input, "use_dora", load_adapter(dir / "a", *model));
  write_text_atomic(config, good);
  write_tensors(tensors,
                {{"base_model.model.model.layers.7.mlp.up_proj.lora_A.weight", test::ones({4, 32}, DType::f32)}});
  CHECK_THROWS_TEXT(input, "layers.7", load_adapter(dir / "a", *model));
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj.";
  write_tensors(tensors, {{q + "lora_A.weight", test::ones({4, 31}, DType::f32)},
                          {q + "lora_B.weight", test::ones({32, 4}, DType::f32)}});
  CHECK_THROWS_TEXT(input, "q_proj", load_adapter(dir / "a", *model));
  write_tensors(tensors, {{q + "lora_A.weight", test::ones({4, 32}, DType::f32)}});
  CHECK_THROWS_TEXT(input, "lora_B", load_adapter(dir / "a", *model));
}

TEST_CASE("merging SPP keeps every zero and the format; merged equals unmerged") {
  struct Kind {
    const char* tag;
    KeepOf pattern;
  };
  for (const Kind& k :
       {Kind{"bitmap", {0, 0}}, Kind{"n_of_m", {2, 4}}, Kind{"n_of_m", {4, 8}}, Kind{"n_of_m", {2, 8}}}) {
    auto model = frozen_model([&](Tensor w) { return sparse(std::move(w), k.pattern, false); });
    const auto before = zeros(*model);
    attach_adapters(*model, plan(AdapterPlan::Kind::spp), 3);
    set_random(*model);
    const Tensor with = logits(*model);
    const auto reports = merge_adapters(*model, {}, silent);
    CHECK(zeros(*model) == before);
    CHECK(test::nmse(logits(*model), with) < 1e-10);
    for (const auto& r : reports) CHECK((r.zeros_before == r.zeros_after && r.error == 0));
    model->each_linear([&](Linear& l) { CHECK(l.frozen()->pack().tag == k.tag); });
  }
}

TEST_CASE("joint weights merge into sparse values of the same mask, or again into codes with the error reported") {
  for (const bool requantise : {false, true}) {
    auto model = frozen_model([](Tensor w) { return sparse(std::move(w), {2, 4}, true); });
    const auto before = zeros(*model);
    attach_adapters(*model, plan(AdapterPlan::Kind::spp), 3);
    set_random(*model);
    const Tensor with = logits(*model);
    const auto reports = merge_adapters(*model, {.requantise = requantise}, silent);
    const auto after = zeros(*model);
    for (std::size_t i = 0; i < before.size(); ++i)
      if (before[i]) REQUIRE(after[i]);
    model->each_linear([&](Linear& l) {
      const Packed p = l.frozen()->pack();
      CHECK(p.tag == "n_of_m");
      CHECK(p.parts.contains("codes") == requantise);
    });
    for (const auto& r : reports) CHECK((requantise ? r.error > 1e-5 && r.error < 0.05 : r.error == 0));
    if (!requantise) CHECK(test::nmse(logits(*model), with) < 1e-10);
  }
}

TEST_CASE("LoRA merges into dense weights; over sparse or quantised ones only as asked") {
  auto model = frozen_model(dense);
  attach_adapters(*model, plan(AdapterPlan::Kind::lora), 3);
  set_random(*model);
  const Tensor with = logits(*model);
  (void)merge_adapters(*model, {}, silent);
  CHECK(test::nmse(logits(*model), with) < 1e-10);
  CHECK_THROWS_TEXT(usage, "no adapter", merge_adapters(*model, {}, silent));

  const auto on_sparse = [] {
    auto m = frozen_model([](Tensor w) { return sparse(std::move(w), {2, 4}, false); });
    attach_adapters(*m, plan(AdapterPlan::Kind::lora), 3);
    set_random(*m);
    return m;
  };
  CHECK_THROWS_TEXT(usage, "--remask", merge_adapters(*on_sparse(), {}, silent));
  auto masked = on_sparse(), filled = on_sparse();
  const auto before = zeros(*masked);
  (void)merge_adapters(*masked, {.remask = true}, silent);
  CHECK(zeros(*masked) == before);
  const Tensor dense_with = logits(*filled);
  (void)merge_adapters(*filled, {.densify = true}, silent);
  CHECK(test::nmse(logits(*filled), dense_with) < 1e-10);
  CHECK(zeros(*filled) != before);

  auto joint = frozen_model([](Tensor w) { return sparse(std::move(w), {2, 4}, true); });
  attach_adapters(*joint, plan(AdapterPlan::Kind::lora), 3);
  CHECK_THROWS_TEXT(usage, "--requantise", merge_adapters(*joint, {.remask = true}, silent));
}

TEST_CASE("parameter counts of cards 06 and 07 for the real shapes, without weights") {
  struct Row {
    std::int64_t hidden, ffn, layers, heads, kv, spp, lora;
  };
  for (const Row& r :
       {Row{4096, 11008, 32, 32, 32, 19578880, 19988480}, Row{5120, 13824, 40, 40, 40, 30638080, 31293440},
        Row{6656, 17920, 60, 52, 52, 59688960, 60948480}, Row{8192, 22016, 80, 64, 64, 97894400, 99942400},
        Row{8192, 28672, 80, 64, 8, 106332160, 103546880}}) {
    ModelConfig c = tiny();
    c.hidden = c.word_width = r.hidden;
    c.ffn = r.ffn;
    c.layers = r.layers;
    c.heads = r.heads;
    c.kv_heads = r.kv;
    c.head_dim = r.hidden / r.heads;
    const auto model = shape_model(c);
    CHECK(adapter_parameters(*model, {AdapterPlan::Kind::spp, 16, 2, 0, ""}) == r.spp);
    CHECK(adapter_parameters(*model, {AdapterPlan::Kind::lora, 8, 2, 0, ""}) == r.lora);
    CHECK_THROWS_TEXT(usage, "does not divide", adapter_parameters(*model, {AdapterPlan::Kind::spp, 17, 2, 0, ""}));
    CHECK_THROWS_TEXT(usage, "--targets", adapter_parameters(*model, {AdapterPlan::Kind::spp, 16, 2, 0, "nothing"}));
  }
}

TEST_CASE(
    "training adapters: the packed bytes stay, only their gradients are formed, the loss falls, a run resumes alike") {
  const TempDir dir;
  std::vector<Example> examples;
  for (std::int32_t i = 0; i < 4; ++i) {
    Example e{{1, 5, 9, 22, 40, 3, 17, i}, {5, 9, 22, 40, 3, 17, i, -1}};
    examples.push_back(e);
  }
  for (const auto kind : {AdapterPlan::Kind::spp, AdapterPlan::Kind::lora}) {
    const auto run = [&](std::int64_t first_stop) {
      auto model = frozen_model([](Tensor w) { return sparse(std::move(w), {2, 4}, true); });
      std::vector<Tensor> bytes;
      model->each_linear([&](Linear& l) {
        for (const auto& [name, part] : l.frozen()->pack().parts) bytes.push_back(part.clone());
      });
      attach_adapters(*model, plan(kind), 3);
      AdapterTask task(*model);
      BatchSampler sampler(examples, 2, 1);
      TrainOptions o;
      o.steps = 12;
      o.schedule = {.peak = 0.02, .steps = 12};
      o.snapshot = dir / "state";
      struct Stopping final : LogSink {
        void note(std::string_view) override {}
        void warn(std::string_view) override {}
        void progress(const Progress& p) override { done = p.done; }
        bool stop_requested() const override { return stop >= 0 && done >= stop; }
        std::int64_t stop = -1, done = 0;
      } log;
      const double before = mean_nll(*model, examples, {}, Compute::f32);
      log.stop = first_stop;
      const auto batches = [&](std::int64_t step) { return sampler.at(step); };
      if (first_stop >= 0) {
        CHECK_THROWS_CODE(interrupted, train(*model, task, batches, {}, o, log));
        log.stop = -1;
        o.resume = true;
      }
      (void)train(*model, task, batches, {}, o, log);
      CHECK(mean_nll(*model, examples, {}, Compute::f32) < before);
      std::size_t k = 0;
      model->each_linear([&](Linear& l) {
        for (const auto& [name, part] : l.frozen()->pack().parts) CHECK(test::same_bits(part, bytes[k++]));
      });
      return logits(*model);
    };
    const Tensor whole = run(-1);
    for (const std::int64_t stop : {1, 5, 11}) CHECK(test::same_bits(run(stop), whole));
  }
}

TEST_CASE("full fine-tuning with --keep-mask leaves every zero a zero") {
  auto model = frozen_model([](Tensor w) { return sparse(std::move(w), {2, 4}, false); });
  const auto before = zeros(*model);
  thaw(*model);
  FullTask task(*model, true);
  BatchSampler sampler({{{1, 5, 9, 22}, {5, 9, 22, -1}}}, 1, 1);
  (void)train(
      *model, task, [&](std::int64_t step) { return sampler.at(step); }, {},
      {.steps = 3, .schedule = {.peak = 0.1, .steps = 3}}, silent);
  CHECK(zeros(*model) == before);
}

}  // namespace sinter
