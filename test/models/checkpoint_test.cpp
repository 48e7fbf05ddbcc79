#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "models/weights/formats.h"
#include "test/check.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// name -> f32 values of everything a model holds.
std::map<std::string, Tensor> contents(CausalLM& m) {
  std::map<std::string, Tensor> all;
  m.each_matrix([&](const std::string& name, Matrix& w) { all[name] = values(w); });
  m.each_weight([&](const std::string& name, Weight& w) { all[name] = values(w); });
  const auto linear = [&](Linear& l) {
    all[l.name() + ".weight"] = l.dense();
    if (l.bias()) all[l.name() + ".bias"] = values(*l.bias());
  };
  m.each_linear(linear);
  m.each_projection(linear);
  return all;
}

void check_same(CausalLM& a, CausalLM& b) {
  const auto x = contents(a), y = contents(b);
  REQUIRE(x.size() == y.size());
  for (const auto& [name, t] : x) CHECK_MESSAGE(same_bits(t, y.at(name)), name);
}

PackedInt random_packed(std::int64_t rows, std::int64_t cols, int bits, std::int64_t group, bool order) {
  Tensor codes = Tensor::empty({rows, cols}, DType::u8);
  const Rng rng{11};
  auto c = codes.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < c.size(); ++i) c[i] = std::uint8_t(rng.below(i, std::uint64_t(1) << bits));
  PackedInt p{rows, cols, group, bits, pack_codes(codes, bits), {}, {}, {}};
  p.scale = Tensor::full({rows, p.groups()}, 0.03, DType::f32);
  p.zero = Tensor::zeros({rows, p.groups()}, DType::u8);
  if (order) {
    p.order = Tensor::empty({cols}, DType::i32);
    auto o = p.order.mutable_data<std::int32_t>();
    for (std::int64_t i = 0; i < cols; ++i) o[std::size_t(i)] = std::int32_t(cols - 1 - i);
  }
  return p;
}

}  // namespace

TEST_CASE("what is saved loads again bit for bit, in one file and in shards, in the type it was stored in") {
  for (const std::string name : {"llama_gqa_tied", "llama_bias", "llama_bf16_sharded", "llama_f16",
                                 "opt_post_norm_proj", "opt_no_model_prefix"}) {
    for (const std::uint64_t shard_bytes : {std::uint64_t(1) << 30, std::uint64_t(20000)}) {
      CAPTURE(name);
      const auto model = load_model(golden("models/" + name));
      TempDir dir;
      copy_model_files(golden("models/" + name), dir.path(), Json::object());
      save_weights(*model, dir.path(), {.source = source_dtype(*model), .shard_bytes = shard_bytes});
      CHECK(std::filesystem::exists(dir / "model.safetensors.index.json") == (shard_bytes == 20000));
      const auto again = load_model(dir.path());
      check_same(*model, *again);
      CHECK(source_dtype(*again) == source_dtype(*model));
    }
  }
}

TEST_CASE("packed linears survive saving and loading, with bits, groups and act-order") {
  const auto model = load_model(golden("models/llama_bias"));
  int bits = 2;
  model->each_linear([&](Linear& l) {
    l.replace(freeze_grouped_int(random_packed(l.out_features(), l.in_features(), bits, 8, bits == 3)));
    bits = bits == 4 ? 8 : bits == 8 ? 2 : bits + 1;
  });
  TempDir dir;
  copy_model_files(golden("models/llama_bias"), dir.path(),
                   {{"quantization_config", {{"quant_method", "sinter"}, {"version", 1}}}});
  for (const std::uint64_t shard_bytes : {std::uint64_t(1) << 30, std::uint64_t(9000)}) {
    for (const auto& e : std::filesystem::directory_iterator(dir.path()))
      if (e.path().extension() == ".safetensors") std::filesystem::remove(e.path());
    save_weights(*model, dir.path(), {.shard_bytes = shard_bytes});
    const auto again = load_model(dir.path());
    check_same(*model, *again);
    again->each_linear([](Linear& l) { CHECK(l.frozen()->pack().tag == "grouped_int"); });
  }
}

TEST_CASE("unknown keys of config.json are kept, changes are added") {
  TempDir from, to;
  write_text_atomic(from / "config.json", R"({"zeta": [1, {"b": 2}], "model_type": "llama", "alpha": 1.5})");
  write_text_atomic(from / "tokenizer_config.json", "{ }\n");
  copy_model_files(from.path(), to.path(), {{"dtype", "float32"}});
  const Json j = read_json(to / "config.json");
  CHECK(j.dump() == R"({"zeta":[1,{"b":2}],"model_type":"llama","alpha":1.5,"dtype":"float32"})");
  CHECK(read_text(to / "tokenizer_config.json") == "{ }\n");
}

TEST_CASE("config.json: what is wrong is named") {
  const auto parse = [](const char* text) { return parse_config(parse_json(text, "config.json"), "config.json"); };
  CHECK_THROWS_TEXT(input, "model_type", parse(R"({"hidden_size": 8})"));
  CHECK_THROWS_TEXT(input, "model_type", parse(R"({"model_type": "gpt2"})"));
  CHECK_THROWS_TEXT(input, "hidden_size", parse(R"({"model_type": "llama", "hidden_size": -8})"));
  CHECK_THROWS_TEXT(input, "hidden_size", parse(R"({"model_type": "llama", "hidden_size": 1e9})"));
  CHECK_THROWS_TEXT(input, "num_attention_heads",
                    parse(R"({"model_type": "llama", "hidden_size": 10, "num_attention_heads": 3})"));
  CHECK_THROWS_TEXT(input, "num_key_value_heads",
                    parse(R"({"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 5})"));
  CHECK_THROWS_TEXT(input, "rope_type",
                    parse(R"({"model_type": "llama", "rope_scaling": {"rope_type": "yarn", "factor": 2.0}})"));
  CHECK_THROWS_TEXT(input, "hidden_act", parse(R"({"model_type": "llama", "hidden_act": "gelu"})"));
  CHECK(
      parse(
          R"({"model_type": "llama", "rope_theta": 10000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}})")
          .rope.theta == 500000);
  CHECK(parse(R"({"model_type": "llama", "rope_theta": 1000000.0})").rope.theta == 1000000);
  CHECK(parse(R"({"model_type": "llama", "eos_token_id": [7, 9]})").eos == std::vector<std::int32_t>{7, 9});
  CHECK(parse(R"({"model_type": "opt", "d_model": 24, "num_attention_heads": 4})").hidden == 24);
}

TEST_CASE("llama3 scaling keeps short wavelengths, divides long ones, and is continuous between") {
  ModelConfig c;
  c.head_dim = 128;
  c.rope = {RopeConfig::Kind::standard, 500000, 8, 1, 4, 8192};
  const auto plain = rope_frequencies(c);
  c.rope.kind = RopeConfig::Kind::llama3;
  const auto scaled = rope_frequencies(c);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double wave = 2 * 3.14159265358979 / double(plain[i]), ratio = double(scaled[i]) / double(plain[i]);
    if (wave < 2048) CHECK(ratio == 1);
    else if (wave > 8192) CHECK(ratio == doctest::Approx(0.125).epsilon(1e-6));
    else CHECK((ratio >= 0.125 && ratio <= 1));
    if (i > 0) CHECK(scaled[i] < scaled[i - 1]);
  }
}

TEST_CASE("parameter totals of the published LLaMA shapes") {
  const auto total = [](std::int64_t d, std::int64_t f, std::int64_t L, std::int64_t kv, std::int64_t V) {
    return 2 * V * d + L * (2 * d * d + 2 * d * kv + 3 * d * f + 2 * d) + d;
  };
  CHECK(total(4096, 11008, 32, 4096, 32000) == 6738415616);
  CHECK(total(8192, 28672, 80, 1024, 32000) == 68976648192);
}
