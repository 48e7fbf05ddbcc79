// SPP as its authors define it and PEFT's LoRA, by PyTorch's autograd (test/golden/adapters; made by make_adapters.py).
#include <nlohmann/json.hpp>

#include "models/checkpoint.h"
#include "test/shared_data.h"
#include "test/train/frozen_models.h"
#include "train/adapt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

struct Golden {
  explicit Golden(const std::string& name)
      : model(load_model(golden("models/" + name))), file(golden("adapters/" + name + ".safetensors")) {
    const TensorFile text(golden("models/" + name) / "golden.safetensors");
    const Tensor ids = text.tensor("ids");
    example.ids.assign(ids.data<std::int32_t>().begin(), ids.data<std::int32_t>().end());
    example.targets.assign(example.ids.begin() + 1, example.ids.end());
    example.targets.push_back(-1);
    settings = parse_json(file.metadata().at("settings"), "settings");
  }
  // The script's 2:4: of row i, the columns c with (i + c) % 4 >= 2 are zero.
  void prune() {
    model->each_linear([](Linear& l) { l.replace(sparse_format({2, 4}, DType::f32).freeze(l.dense())); });
  }
  // Loss and gradients with the file's factors, against the file's.
  void check(const std::string& kind, const std::vector<std::string>& parts) {
    std::vector<std::string> keys;
    model->each_linear([&](Linear& l) {
      std::size_t k = 0;
      l.each_param([&](Param& p) {
        keys.push_back(kind + "." + l.name() + "." + parts[k++]);
        p.assign(file.tensor(keys.back()).clone());
      });
    });
    AdapterTask task(*model);
    REQUIRE(keys.size() == task.trainable().size());
    const Example* one = &example;
    const Batch batch = batch_of(std::span(&one, 1));
    Tape tape;
    const Var sum = task.loss({.tape = &tape, .rng = Rng{5}}, *model, batch);
    const double counted = double(batch.counted());
    CHECK(value_at(sum.value(), 0) / counted ==
          doctest::Approx(value_at(file.tensor(kind + ".loss"), 0)).epsilon(1e-5));
    const Grads g = std::move(tape).backward(sum, Tensor::full({1}, 1 / counted, DType::f32));
    CHECK(g.size() == keys.size());
    for (std::size_t k = 0; k < keys.size(); ++k) {
      CAPTURE(keys[k]);
      CHECK(relative(*g.find(*task.trainable()[k]), file.tensor(keys[k] + ".grad")) < 1e-4);
    }
  }

  std::unique_ptr<CausalLM> model;
  TensorFile file;
  Example example;
  Json settings;
};

constexpr const char* kModels[] = {"llama_gqa_tied", "opt_post_norm_proj"};

}  // namespace

TEST_CASE("loss and gradients of SPP over 2:4 weights equal PyTorch's, fused and by equation 7") {
  for (const char* name : kModels)
    // A dropout too small to drop anything takes the way of equation 7.
    for (const double dropout : {0., 1e-9}) {
      CAPTURE(name);
      CAPTURE(dropout);
      Golden g(name);
      g.prune();
      attach_adapters(*g.model, {AdapterPlan::Kind::spp, g.settings["spp_rank"], g.settings["spp_scale"], dropout, ""},
                      1);
      g.check("spp", {"alpha", "beta"});
    }
}

TEST_CASE("loss and gradients of LoRA equal PEFT's") {
  for (const char* name : kModels) {
    CAPTURE(name);
    Golden g(name);
    attach_adapters(*g.model, {AdapterPlan::Kind::lora, g.settings["lora_rank"], g.settings["lora_scale"], 0, ""}, 1);
    g.check("lora", {"A", "B"});
  }
}
