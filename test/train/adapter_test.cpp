// Adapters of whole models: on disk, counted, learned.
#include "core/file.h"
#include "models/shape_model.h"
#include "test/temp_dir.h"
#include "test/train/frozen_models.h"
#include "train/adapter_file.h"
#include "train/full.h"

using namespace sinter;
using namespace sinter::test;

namespace {

using Kind = AdapterPlan::Kind;

AdapterPlan plan(Kind kind) { return {kind, 4, 0.5, 0.05, ""}; }
std::unique_ptr<CausalLM> dense_model() { return tiny_model(Family::llama, dense_format(DType::f32), 32); }

}  // namespace

TEST_CASE("an adapter on disk: what is loaded gives the same logits, for SPP and LoRA") {
  for (const Family family : kFamilies)
    for (const Kind kind : {Kind::spp, Kind::lora}) {
      const TempDir dir;
      const Format format = joint_format({2, 4}, {4});
      const auto model = tiny_model(family, format), other = tiny_model(family, format);
      const Tensor before = logits(*model);
      attach_adapters(*model, plan(kind), 3);
      set_factors(*model);
      save_adapter(dir / "a", *model, plan(kind), {"base", {}});
      load_adapter(dir / "a", *other);
      CHECK(same_bits(logits(*model), logits(*other)));
      CHECK(!same_bits(logits(*model), before));
    }
}

TEST_CASE("an SPP file that does not fit is refused by tensor") {
  const TempDir dir;
  const auto model = dense_model();
  attach_adapters(*model, plan(Kind::spp), 3);
  save_adapter(dir / "a", *model, plan(Kind::spp), {"base", {}});
  const auto load_with = [&](Shape alpha, Shape beta) {
    const std::string q = "model.layers.0.self_attn.q_proj.";
    write_tensors(dir / "a/adapter_model.safetensors", {{q + "spp_alpha", Tensor::zeros(alpha, DType::f32)},
                                                        {q + "spp_beta", Tensor::zeros(beta, DType::f32)}});
    load_adapter(dir / "a", *dense_model());
  };
  CHECK_NOTHROW(load_with({4, 32}, {32}));
  CHECK_THROWS_TEXT(input, "q_proj.spp_alpha has 5 rows, which does not divide the 32", load_with({5, 32}, {32}));
  CHECK_THROWS_TEXT(input, "spp_alpha of model.layers.0.self_attn.q_proj has shape [4, 31]", load_with({4, 31}, {32}));
  CHECK_THROWS_TEXT(input, "spp_beta of model.layers.0.self_attn.q_proj has shape [33]", load_with({4, 32}, {33}));
  CHECK_THROWS_TEXT(input, "spp_alpha of", load_with({std::int64_t(1) << 40, 0}, {32}));
}

TEST_CASE("a rank that does not divide a linear's rows is refused by its name, before any linear has an adapter") {
  for (const Family family : kFamilies) {
    const auto model = tiny_model(family, dense_format(DType::f32), 32);
    AdapterPlan p = plan(Kind::spp);
    p.rank = 64;  // fits the first linears of the MLP alone
    p.targets = family == Family::llama ? "up_proj|down_proj" : "fc1|fc2";
    const std::string name = family == Family::llama ? "mlp.down_proj" : "fc2";
    CHECK_THROWS_TEXT(usage, name + ": rank 64 does not divide the 32 rows", attach_adapters(*model, p, 1));
    CHECK_THROWS_TEXT(usage, name + ": rank 64 does not divide the 32 rows", adapter_parameters(*model, p));
    model->each_linear([](const Linear& l) { CHECK(l.adapter() == nullptr); });
  }
}

TEST_CASE("parameter counts of cards 06 and 07 for the real shapes, without weights") {
  struct Row {
    std::int64_t hidden, ffn, layers, heads, kv, spp, lora;
  };
  for (const Row& r :
       {Row{4096, 11008, 32, 32, 32, 19578880, 19988480}, Row{5120, 13824, 40, 40, 40, 30638080, 31293440},
        Row{6656, 17920, 60, 52, 52, 59688960, 60948480}, Row{8192, 22016, 80, 64, 64, 97894400, 99942400},
        Row{8192, 28672, 80, 64, 8, 106332160, 103546880}}) {
    ModelConfig c = tiny_config(Family::llama, 32);
    c.hidden = c.word_width = r.hidden;
    c.ffn = r.ffn;
    c.layers = r.layers;
    c.heads = r.heads;
    c.kv_heads = r.kv;
    c.head_dim = r.hidden / r.heads;
    const auto model = shape_model(c);
    CHECK(adapter_parameters(*model, {Kind::spp, 16, 2, 0, ""}) == r.spp);
    CHECK(adapter_parameters(*model, {Kind::lora, 8, 2, 0, ""}) == r.lora);
    CHECK_THROWS_TEXT(usage, "does not divide", adapter_parameters(*model, {Kind::spp, 17, 2, 0, ""}));
    CHECK_THROWS_TEXT(usage, "--targets", adapter_parameters(*model, {Kind::spp, 16, 2, 0, "nothing"}));
  }
}

TEST_CASE("training adapters: the packed bytes stay, the loss falls, a run resumes alike") {
  const TempDir dir;
  std::vector<Example> examples;
  for (std::int32_t i = 0; i < 4; ++i) {
    Example e{{1, 5, 9, 22, 4, 3, 17, i}, {5, 9, 22, 4, 3, 17, i, -1}};
    examples.push_back(e);
  }
  for (const auto kind : {Kind::spp, Kind::lora}) {
    const auto run = [&](std::int64_t first_stop) {
      auto model = tiny_model(Family::llama, joint_format({2, 4}, {4}), 32);
      const auto bytes = packed_parts(*model);
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
      CHECK(same_parts(packed_parts(*model), bytes));
      return logits(*model);
    };
    const Tensor whole = run(-1);
    for (const std::int64_t stop : {1, 5, 11}) CHECK(same_bits(run(stop), whole));
  }
}

TEST_CASE("full fine-tuning with --keep-mask leaves every zero a zero") {
  const auto model = tiny_model(Family::llama, sparse_format({2, 4}, DType::f32), 32);
  const auto zeros = [&] {
    std::vector<bool> all;
    model->each_linear([&](const Linear& l) {
      const Tensor w = l.dense();
      for (const float v : w.data<float>()) all.push_back(v == 0 && !std::signbit(v));
    });
    return all;
  };
  const auto before = zeros();
  NullLog log;
  thaw(*model);
  FullTask task(*model, true);
  BatchSampler sampler({{{1, 5, 9, 22}, {5, 9, 22, -1}}}, 1, 1);
  (void)train(
      *model, task, [&](std::int64_t step) { return sampler.at(step); }, {},
      {.steps = 3, .schedule = {.peak = 0.1, .steps = 3}}, log);
  CHECK(zeros() == before);
}
