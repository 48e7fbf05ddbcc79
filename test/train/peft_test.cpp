// Adapters as PEFT writes and reads them (test/golden/peft; made by make_peft.py, the way back is checked by check_peft.py).
#include "core/file.h"
#include "models/checkpoint.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"
#include "test/train/frozen_models.h"
#include "train/adapter_file.h"
#include "train/data/make_tokenizer.h"
#include "train/prompt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;
using Kind = AdapterPlan::Kind;

// The model that a golden adapter names, the ids and logits beside it.
struct Golden {
  explicit Golden(const std::string& name)
      : dir(golden("peft") / name),
        model(load_model(golden("models") / read_json(dir / "adapter_config.json")["base_model_name_or_path"])),
        file(dir / "golden.safetensors") {
    const Tensor t = file.tensor("ids");
    ids.assign(t.data<std::int32_t>().begin(), t.data<std::int32_t>().end());
  }
  double error(const Tensor& prompt = {}) const {
    return relative(logits(*model, {}, prompt, ids), file.tensor("logits"));
  }
  fs::path dir;
  std::unique_ptr<CausalLM> model;
  TensorFile file;
  std::vector<std::int32_t> ids;
};

// A LoRA of rank 4 on a tiny model, saved and its files as they may be changed.
struct Saved {
  TempDir dir;
  fs::path at = dir / "a", config = at / "adapter_config.json", tensors = at / "adapter_model.safetensors";
  std::unique_ptr<CausalLM> model = tiny_model(Family::llama, dense_format(DType::f32), 32);
  Json json;

  explicit Saved(AdapterPlan plan = {Kind::lora, 4, 0.5, 0, ""}) {
    attach_adapters(*model, plan, 3);
    set_factors(*model);
    save_adapter(at, *model, plan, {"base", {}});
    json = read_json(config);
  }
  void load_with(const std::string& key, const Json& value) {
    Json changed = json;
    changed[key] = value;
    write_text_atomic(config, json_text(changed));
    auto fresh = tiny_model(Family::llama, dense_format(DType::f32), 32);
    load_adapter(at, *fresh);
  }
  void load_tensors(const NamedTensors& all) {
    write_text_atomic(config, json_text(json));
    write_tensors(tensors, all);
    auto fresh = tiny_model(Family::llama, dense_format(DType::f32), 32);
    try {
      load_adapter(at, *fresh);
    } catch (const Error&) {
      fresh->each_linear([](const Linear& l) { CHECK(l.adapter() == nullptr); });
      throw;
    }
  }
};

constexpr const char* kQ = "base_model.model.model.layers.0.self_attn.q_proj.";

}  // namespace

TEST_CASE(
    "LoRA adapters that PEFT trained give PEFT's logits: patterns, rsLoRA, some layers, names without model., .bin") {
  for (const char* name : {"llama_lora", "llama_patterns", "opt_rslora", "opt_layers"}) {
    CAPTURE(name);
    const Golden g(name);
    CHECK(g.error() > 0.05);
    load_adapter(g.dir, *g.model);
    CHECK(g.error() < 1e-4);
  }
  const Golden g("llama_lora");
  load_adapter(golden("peft/llama_lora_bin"), *g.model);
  CHECK(g.error() < 1e-4);
}

TEST_CASE("prompts that PEFT trained give PEFT's logits") {
  const TempDir dir;
  make_tokenizer("some words, some more words", 270, dir.path());
  const auto tokenizer = Tokenizer::load(dir.path());
  for (const char* name : {"llama_prompt", "opt_prompt"}) {
    CAPTURE(name);
    const Golden g(name);
    CHECK(g.error() > 0.05);
    CHECK(g.error(load_prompt(g.dir, *g.model, *tokenizer)) < 1e-4);
  }
}

TEST_CASE("what PEFT adds to LoRA, and its other kinds, are refused by the field's name") {
  const auto model = load_model(golden("models/llama_mha_untied"));
  for (const auto& [name, field] : {std::pair{"modules_to_save", "modules_to_save"},
                                    {"dora", "use_dora"},
                                    {"pissa", "init_lora_weights"},
                                    {"trained_bias", "bias"},
                                    {"ia3", "peft_type: expected LORA or SPP, found \"IA3\""}}) {
    CAPTURE(name);
    CHECK_THROWS_TEXT(input, std::string("adapter_config.json: field ") + field,
                      load_adapter(golden("peft") / name, *model));
  }
  Saved s;
  for (const char* field : {"fan_in_fan_out", "lora_bias", "use_qalora"})
    CHECK_THROWS_TEXT(input, field, s.load_with(field, true));
  for (const char* field :
       {"alora_invocation_tokens", "trainable_token_indices", "target_parameters", "layer_replication"})
    CHECK_THROWS_TEXT(input, field, s.load_with(field, Json::array({1})));
  for (const char* field : {"use_bdlora", "kasa_config", "arrow_config", "monteclora_config"})
    CHECK_THROWS_TEXT(input, field, s.load_with(field, Json{{"x", 1}}));
  for (const char* kind : {"olora", "corda", "loftq", "lora_ga", "pissa_niter_4"})
    CHECK_THROWS_TEXT(input, "init_lora_weights", s.load_with("init_lora_weights", kind));
  CHECK_THROWS_TEXT(input, "alpha_pattern", s.load_with("alpha_pattern", Json{{"(q|k)_proj", 3}}));
  CHECK_THROWS_TEXT(input, "field r: expected 4", s.load_with("r", 5));
  for (const auto& [field, value] : {std::pair<const char*, Json>{"init_lora_weights", "gaussian"},
                                     {"init_lora_weights", false},
                                     {"target_parameters", Json::array()},
                                     {"use_bdlora", nullptr},
                                     {"layers_to_transform", Json::array({0, 1})},
                                     {"rank_pattern", Json{{"q_proj", 4}}}})
    CHECK_NOTHROW(s.load_with(field, value));
}

TEST_CASE("whatever stands in a field of adapter_config.json, the adapter loads or the error is one of input") {
  Saved s;
  const Json values = parse_json(R"([null, true, -1, 0.5, 1e300, "", "x", [], {}, [null], ["a", 1], {"q_proj": "x"},
                                     {"q_proj": 1}, {"": null}])",
                                 "values");
  int loaded = 0, refused = 0;
  for (const auto& [key, before] : s.json.items())
    for (const Json& value : values) try {
        s.load_with(key, value);
        ++loaded;
      } catch (const Error& e) {
        CHECK(e.code() == ErrorCode::input);
        ++refused;
      }
  CHECK(loaded > 0);
  CHECK(refused > 0);
}

TEST_CASE("tensors that do not fit are refused by name, and the model stays as it was") {
  Saved s;
  const std::string q = kQ;
  const auto t = [](std::int64_t m, std::int64_t n) { return ones({m, n}, DType::f32); };
  CHECK_THROWS_TEXT(input, "needs both lora_A", s.load_tensors({{q + "lora_A.weight", t(4, 32)}}));
  CHECK_THROWS_TEXT(input, "lora_A of model.layers.0.self_attn.q_proj has shape [4, 31]",
                    s.load_tensors({{q + "lora_A.weight", t(4, 31)}, {q + "lora_B.weight", t(32, 4)}}));
  CHECK_THROWS_TEXT(input, "lora_B of model.layers.0.self_attn.q_proj has shape [32, 5]",
                    s.load_tensors({{q + "lora_A.weight", t(4, 32)}, {q + "lora_B.weight", t(32, 5)}}));
  // As many rows as would never fit, in a file without a byte of data.
  CHECK_THROWS_TEXT(input, "lora_A of",
                    s.load_tensors({{q + "lora_A.weight", Tensor::empty({std::int64_t(1) << 40, 0}, DType::f32)},
                                    {q + "lora_B.weight", t(32, 4)}}));
  CHECK_THROWS_TEXT(input, "lora_embedding_A belongs to no linear",
                    s.load_tensors({{q + "lora_A.weight", t(4, 32)},
                                    {q + "lora_B.weight", t(32, 4)},
                                    {"base_model.model.model.embed_tokens.lora_embedding_A", t(4, 24)}}));
  CHECK_THROWS_TEXT(input, "layers.7",
                    s.load_tensors({{"base_model.model.model.layers.7.mlp.up_proj.lora_A.weight", t(4, 32)}}));
  CHECK_THROWS_TEXT(input, "has type i32", s.load_tensors({{q + "lora_A.weight", Tensor::empty({4, 32}, DType::i32)}}));
  const TempDir empty;
  write_text_atomic(empty / "adapter_config.json", json_text(s.json));
  CHECK_THROWS_TEXT(input, "holds no adapter_model.safetensors or adapter_model.bin",
                    load_adapter(empty.path(), *s.model));
}

TEST_CASE(
    "the file says of a LoRA what the user said: alpha, rsLoRA, and modules that mean the adapted linears alone") {
  const Saved plain, rs({Kind::lora, 4, 10 / std::sqrt(4.), 0, "", 10, true}), fraction({Kind::lora, 3, 0.5, 0, ""}),
      some({Kind::lora, 4, 2, 0, "layers\\.1\\..*(q_proj|up_proj)"}), ends({Kind::lora, 4, 2, 0, "(q_proj|up_proj)$"});
  CHECK(plain.json["lora_alpha"].dump() == "2");
  CHECK(fraction.json["lora_alpha"].dump() == "1.5");
  CHECK(plain.json["use_rslora"] == false);
  CHECK(rs.json["lora_alpha"].dump() == "10");
  CHECK(rs.json["use_rslora"] == true);
  CHECK(plain.json["target_modules"] ==
        Json({"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}));
  CHECK(ends.json["target_modules"] == Json({"q_proj", "up_proj"}));
  CHECK(some.json["target_modules"] == Json({"model.layers.1.mlp.up_proj", "model.layers.1.self_attn.q_proj"}));
  for (const Saved* s : {&plain, &rs, &fraction, &some, &ends}) {
    auto fresh = tiny_model(Family::llama, dense_format(DType::f32), 32);
    load_adapter(s->at, *fresh);
    CHECK(same_bits(logits(*fresh), logits(*s->model)));
  }
}

TEST_CASE("an OPT without model. in its names has it in PEFT's") {
  const TempDir dir;
  auto model = load_model(golden("models/opt_no_model_prefix")),
       other = load_model(golden("models/opt_no_model_prefix"));
  const AdapterPlan plan{Kind::lora, 2, 1, 0, "fc1"};
  attach_adapters(*model, plan, 3);
  set_factors(*model);
  save_adapter(dir / "a", *model, plan, {"base", {}});
  CHECK(
      TensorFile(dir / "a/adapter_model.safetensors").has("base_model.model.model.decoder.layers.0.fc1.lora_A.weight"));
  load_adapter(dir / "a", *other);
  CHECK(same_bits(logits(*other), logits(*model)));
}
