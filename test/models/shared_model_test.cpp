// The trained models that do not ship with the repository: logits, stories and perplexity of other implementations.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "models/checkpoint.h"
#include "models/generate.h"
#include "test/check.h"
#include "test/shared_data.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("logits of the trained models equal those of an independent C program") {
  for (const std::string name : {"stories260K", "babyllama361"}) {
    CAPTURE(name);
    SINTER_SHARED_OR_SKIP(dir, "models/" + name);
    const auto model = load_model(dir);
    const Json golden_json = read_json(dir / "golden.json");
    const std::vector<std::int32_t> ids = golden_json["input_ids"].get<std::vector<std::int32_t>>();
    const std::int64_t rows = golden_json["logits_rows"].get<std::int64_t>(), V = model->config().vocab;
    const Layout layout = Layout::one(rows);
    const Context ctx;
    const Var h = model->run(ctx, model->enter(ctx, model->embed(ctx, std::span(ids).first(std::size_t(rows))), layout),
                             model->all(), layout);
    const Tensor z = model->logits(ctx, h).value();
    const std::string bytes = read_text(dir / "golden_logits_f32.bin");
    REQUIRE(bytes.size() == std::size_t(rows * V * 4));
    Tensor want = Tensor::empty({rows, V}, DType::f32);
    std::memcpy(want.mutable_data<float>().data(), bytes.data(), bytes.size());
    double largest = 0;
    for (const float v : want.data<float>()) largest = std::max(largest, std::abs(double(v)));
    CHECK(distance(z, want) / largest < 1e-5);

    const auto tokenizer = Tokenizer::load(dir);
    const auto prompt = tokenizer->encode(golden_json["prompt"].get<std::string>());
    CHECK(prompt == golden_json["prompt_ids"].get<std::vector<std::int32_t>>());
    const std::int64_t more = std::int64_t(ids.size() - prompt.size());
    const Generated g = generate(*model, *tokenizer, prompt, {}, {.max_new_tokens = more});
    CHECK(g.ids == std::vector<std::int32_t>(ids.begin() + std::int64_t(prompt.size()), ids.end()));
  }
}

TEST_CASE("the greedy story of stories260K is the documented one") {
  SINTER_SHARED_OR_SKIP(dir, "models/stories260K");
  const auto model = load_model(dir);
  const auto tokenizer = Tokenizer::load(dir);
  std::string want = read_text(dir / "greedy_reference.txt");
  while (want.ends_with('\n')) want.pop_back();
  const auto ids = tokenizer->encode("Once upon a time");
  std::string streamed;
  const Generated g =
      generate(*model, *tokenizer, ids, {}, {.max_new_tokens = 256}, [&](std::string_view text) { streamed += text; });
  CHECK(g.text == streamed);
  const std::string story = "Once upon a time" + g.text;
  CHECK(story.substr(0, want.size()) == want);
}
