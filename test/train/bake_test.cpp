// A model with its soft prompt in the vocabulary is the model with the soft prompt before the text.
#include "train/bake.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "models/generate.h"
#include "ops/concat.h"
#include "test/check.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

Json llama(bool tied) {
  return {{"model_type", "llama"},         {"hidden_size", 16},          {"intermediate_size", 24},
          {"num_hidden_layers", 2},        {"num_attention_heads", 2},   {"num_key_value_heads", 1},
          {"max_position_embeddings", 64}, {"tie_word_embeddings", tied}};
}
Json opt() {  // as OPT-350m: words narrower than the model
  return {{"model_type", "opt"},
          {"hidden_size", 16},
          {"ffn_dim", 32},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"word_embed_proj_dim", 12},
          {"do_layer_norm_before", false},
          {"max_position_embeddings", 64}};
}

struct Case {
  TempDir dir;
  fs::path model = dir / "model", baked = dir / "baked";
  Tensor prompt;

  Case(Json config, const std::string& tokenizer, std::int64_t rows_without_token = 0, DType dtype = DType::f32) {
    fs::create_directory(model);
    fs::create_directory(baked);
    for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"})
      if (const auto from = golden("tokenizers/" + tokenizer) / name; fs::exists(from)) fs::copy(from, model);
    config["vocab_size"] = Tokenizer::load(model)->size() + rows_without_token;
    write_text_atomic(model / "config.json", json_text(config));
    const auto made = random_model(parse_config(config, "config"), 3);
    made->each_param([](Param& p) {  // logits that differ
      const Tensor t = randn(p.value().shape(), p.value().numel() % 97, DType::f32);
      Tensor w = Tensor::empty(t.shape(), DType::f32);
      for (std::size_t i = 0; i < w.mutable_data<float>().size(); ++i)
        w.mutable_data<float>()[i] = (p.value().shape().rank() == 1 ? 1.f : 0.f) + 0.3f * t.data<float>()[i];
      p.assign(w);
    });
    save_weights(*made, model, {.params = dtype});
    prompt = randn({5, parse_config(config, "config").word_width}, 11, DType::f32);
  }
  BakedPrompt bake() const { return bake_prompt(*load_model(model), model, prompt, baked, Json::object()); }
};

Tensor logits(const CausalLM& model, const Var& e) {
  const Layout layout = Layout::one(e.shape()[0]);
  const Var h = model.run(Context{}, model.enter(Context{}, e, layout), model.all(), layout);
  return model.logits(Context{}, h).value();
}

// Columns [0, n) of a [T, V].
Tensor columns(const Tensor& a, std::int64_t n) {
  Tensor out = Tensor::empty({a.shape()[0], n}, DType::f32);
  const auto to = out.mutable_data<float>();
  for (std::int64_t t = 0; t < a.shape()[0]; ++t)
    std::ranges::copy(a.data<float>().subspan(std::size_t(t * a.shape()[1]), std::size_t(n)), to.begin() + t * n);
  return out;
}

}  // namespace

TEST_CASE("the baked words give the logits and the texts that the soft prompt gives; their own logits never win") {
  const std::vector<std::pair<Json, std::string>> cases{{llama(true), "spm_llama"},
                                                        {llama(false), "json_llama"},
                                                        {llama(true), "json_metaspace_first"},
                                                        {llama(false), "json_gpt2"},
                                                        {opt(), "opt"},
                                                        {opt(), "json_metaspace_split"}};
  for (const auto& [config, tokenizer] : cases) {
    CAPTURE(tokenizer);
    const Case c(config, tokenizer);
    const BakedPrompt b = c.bake();
    const auto before = load_model(c.model), after = load_model(c.baked);
    const auto plain = Tokenizer::load(c.model), extended = Tokenizer::load(c.baked);
    CHECK(b.first == plain->size());
    CHECK(b.vocab % 64 == 0);
    CHECK(after->config().vocab == b.vocab);
    CHECK(b.own_head == config.value("tie_word_embeddings", true));
    CHECK_FALSE(after->config().tied);
    if (tokenizer == "opt") CHECK(read_json(c.baked / "tokenizer_config.json")["bos_token"] == "</s>");

    const std::string text = "the words that they meant";
    const auto ids = plain->encode(text);
    std::vector<std::int32_t> want;
    for (int i = 0; i < 5; ++i) want.push_back(b.first + i);
    want.insert(want.end(), ids.begin(), ids.end());
    CHECK(extended->encode(b.prefix + text, false) == want);
    CHECK(read_text(c.baked / "prompt_prefix.txt") == b.prefix);
    CHECK(extended->encode(text) == ids);  // without the prompt it is the model that it was
    CHECK(extended->decode(want) == plain->decode(ids));

    const Tensor soft = logits(*before, concat_rows(std::array{Var(c.prompt), before->embed(Context{}, ids)}));
    const Tensor hard = logits(*after, after->embed(Context{}, want));
    CHECK(distance(columns(hard, b.first), columns(soft, b.first)) < 1e-5);
    for (std::int64_t t = 0; t < hard.shape()[0]; ++t) {
      const auto row = hard.data<float>().subspan(std::size_t(t * b.vocab), std::size_t(b.vocab));
      const double mean = std::accumulate(row.begin(), row.begin() + b.first, 0.0) / b.first;
      for (std::int64_t v = b.first; v < b.vocab; ++v) CHECK(std::abs(double(row[std::size_t(v)]) - mean) < 1e-4);
      CHECK(std::ranges::max_element(row) - row.begin() < b.first);
      double known = 0, all = 0;
      for (std::int64_t v = 0; v < b.vocab; ++v) (v < b.first ? known : all) += std::exp(double(row[std::size_t(v)]));
      CHECK(std::log1p(all / known) <= b.largest_shift);
    }
    for (const double temperature : {0.0, 3.0}) {
      const GenerateOptions o{.max_new_tokens = 12, .sample = {.temperature = temperature}, .seed = 4};
      CHECK(generate(*after, *extended, want, {}, o).ids == generate(*before, *plain, ids, c.prompt, o).ids);
    }
  }
}

TEST_CASE("all but embedding and head is copied, and a type that cannot hold the prompt is widened") {
  Case c(llama(false), "json_llama", 3, DType::bf16);
  const auto tensors = [](const fs::path& dir) { return TensorFile(dir / "model.safetensors"); };
  SUBCASE("the prompt is exact in bf16") {
    c.prompt = cast(cast(c.prompt, DType::bf16), DType::f32);
    CHECK_FALSE(c.bake().widened);
    CHECK(tensors(c.baked).tensor("model.embed_tokens.weight").dtype() == DType::bf16);
  }
  SUBCASE("it is not") {
    CHECK(c.bake().widened);
    CHECK(tensors(c.baked).tensor("model.embed_tokens.weight").dtype() == DType::f32);
  }
  const TensorFile before = tensors(c.model), after = tensors(c.baked);
  CHECK(after.names().size() == before.names().size());
  CHECK(after.tensor("lm_head.weight").dtype() == DType::bf16);
  for (const auto& name : before.names()) {
    CAPTURE(name);
    const Tensor old = before.tensor(name), now = after.tensor(name);
    const bool words = name == "model.embed_tokens.weight" || name == "lm_head.weight";
    CHECK(distance(now.rows(0, words ? 460 : old.shape()[0]), old.rows(0, words ? 460 : old.shape()[0])) == 0);
    if (!words) CHECK(same_bits(now, old));
  }
  const Json generation = read_json(c.baked / "generation_config.json"), config = read_json(c.baked / "config.json");
  CHECK(config["vocab_size"] == 512);  // 463 rows, 460 pieces, 5 rows of the prompt
  CHECK(generation["suppress_tokens"].size() == 512 - 460);
  CHECK(generation["suppress_tokens"][0] == 460);
  CHECK(generation["eos_token_id"] == 2);
}

TEST_CASE("what generation_config.json says already stays, and a second prompt is refused") {
  const Case c(llama(true), "json_llama");
  write_text_atomic(c.model / "generation_config.json", R"({"temperature": 0.6, "suppress_tokens": [7]})");
  c.bake();
  const Json generation = read_json(c.baked / "generation_config.json");
  CHECK(generation["temperature"] == 0.6);
  CHECK(generation["suppress_tokens"][0] == 7);
  CHECK(generation["suppress_tokens"][1] == 460);
  CHECK_FALSE(generation.contains("bos_token_id"));
  const TempDir other;
  CHECK_THROWS_TEXT(input, "<sp_0> already",
                    bake_prompt(*load_model(c.baked), c.baked, c.prompt, other.path(), Json::object()));
  const Tensor long_one = Tensor::zeros({64, 16}, DType::f32);
  CHECK_THROWS_TEXT(usage, "64 positions",
                    bake_prompt(*load_model(c.model), c.model, long_one, other.path(), Json::object()));
}
