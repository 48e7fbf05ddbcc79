// The transfer matrix: what a cell is, what a resumed run measures again, what is refused before any work.
#include "train/transfer.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "models/checkpoint.h"
#include "test/check.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"
#include "train/prompt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

constexpr const char* kText = "It was a day like others. The words went on and on, and nobody knew what they meant. ";

Json config(std::int64_t width, std::int64_t positions) {
  return {{"model_type", "llama"},
          {"vocab_size", 460},
          {"hidden_size", width},
          {"intermediate_size", 24},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 2},
          {"max_position_embeddings", positions}};
}

// Two models of one shape, a wider one, one with another tokenizer, two prompts, two texts.
struct Files {
  TempDir dir;
  Files() {
    model("a", 1, 16, 48, "json_llama");
    model("b", 2, 16, 40, "json_llama");
    model("wide", 3, 32, 48, "json_llama");
    model("other", 4, 16, 48, "json_metaspace_first");
    prompt("p", "a", 3, 5);
    prompt("q", "b", 5, 6);
    prompt("r", "wide", 3, 7);
    std::string text;
    for (int i = 0; i < 20; ++i) text += kText + std::to_string(i);
    write_text_atomic(dir / "one.txt", text);
    write_text_atomic(dir / "two.txt", text.substr(900));
    write_text_atomic(dir / "short.txt", "too short");
  }
  void model(const std::string& name, std::uint64_t seed, std::int64_t width, std::int64_t positions,
             const std::string& tokenizer) const {
    const fs::path to = dir / name;
    fs::create_directory(to);
    fs::copy(golden("tokenizers/" + tokenizer + "/tokenizer.json"), to);
    const Json json = config(width, positions);
    write_text_atomic(to / "config.json", json_text(json));
    save_weights(*random_model(parse_config(json, "config"), seed), to);
  }
  void prompt(const std::string& name, const std::string& of, std::int64_t k, std::uint64_t seed) const {
    const auto model = load_model(dir / of);
    save_prompt(dir / (name + ".safetensors"), random_prompt(*model, k, Rng{seed}), *model, *Tokenizer::load(dir / of),
                {of, {}});
  }
  TransferRequest request() const {
    TransferRequest r;
    r.models = {{"A", dir / "a"}, {"B", dir / "b"}};
    r.prompts = {{"P", dir / "p.safetensors"}, {"Q", dir / "q.safetensors"}};
    r.texts = {{"one", dir / "one.txt"}, {"two", dir / "two.txt"}};
    r.max_chunks = 4;
    return r;
  }
};

struct StopAfter final : LogSink {
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  void progress(const Progress& p) override { shares.push_back(p.share); }
  bool stop_requested() const override { return stop; }
  bool stop = false;
  std::vector<double> shares;
};

}  // namespace

TEST_CASE("a cell is the perplexity of its text under its model with its prompt, by both divisors (card 05.5)") {
  const Files files;
  TransferMatrix m = plan_transfer(files.request());
  CHECK(m.seq_len == 35);  // 40 positions of B, 5 rows of Q
  CHECK(m.cells.size() == 12);
  StopAfter log;
  std::size_t saved = 0;
  measure_transfer(
      m, [&] { saved = m.measured(); }, log);
  CHECK(saved == 12);
  CHECK(std::ranges::is_sorted(log.shares));
  CHECK(log.shares.back() == doctest::Approx(1));
  const auto model = load_model(files.dir / "b");
  const auto tokenizer = Tokenizer::load(files.dir / "b");
  const auto ids = tokenizer->encode(read_text(files.dir / "two.txt"));
  NullLog quiet;
  for (std::size_t p = 0; p < 3; ++p) {
    const Tensor rows = p == 0 ? Tensor() : load_prompt(files.request().prompts[p - 1].path, *model, *tokenizer);
    const Perplexity want = perplexity(*model, ids, {.seq_len = 35, .max_chunks = 4, .soft_prompt = rows}, quiet);
    const Perplexity& got = *m.at(1, p, 1).found;
    CHECK(got.nll == want.nll);
    CHECK(got.scored_tokens == 4 * 34);
    const double k = p == 0 ? 0 : p == 1 ? 3 : 5;
    CHECK(got.ppl == doctest::Approx(std::exp(got.nll)).epsilon(1e-12));
    CHECK(got.ppl_paper == doctest::Approx(std::pow(got.ppl, 34 / (34 + k))).epsilon(1e-12));
  }
  const Json json = transfer_json(m);
  REQUIRE(json["cells"].size() == 12);
  CHECK(json["cells"][11]["source"] == "Q");
  CHECK(json["cells"][11]["target"] == "B");
  CHECK(json["cells"][11]["data"] == "two");
  CHECK(json["cells"][11]["ppl"] == m.at(1, 2, 1).found->ppl);
  CHECK(json["cells"][11]["prompt_tokens"] == 5);
}

TEST_CASE("a run that was stopped goes on where it was, and only what changed is measured again") {
  const Files files;
  TransferMatrix whole = plan_transfer(files.request()), begun = plan_transfer(files.request());
  StopAfter log;
  measure_transfer(
      whole, [] {}, log);
  const auto stop = [&] { log.stop = begun.measured() == 5; };
  CHECK_THROWS_CODE(interrupted, measure_transfer(begun, stop, log));
  log.stop = false;
  CHECK(begun.measured() == 5);
  const Json saved = transfer_json(begun);

  TransferMatrix rest = plan_transfer(files.request());
  take_over(rest, saved, "saved");
  CHECK(rest.measured() == 5);
  std::size_t measured = 0;
  measure_transfer(
      rest, [&] { ++measured; }, log);
  CHECK(measured == 7);
  CHECK(transfer_json(rest) == transfer_json(whole));

  files.prompt("q", "b", 5, 99);  // another prompt Q
  TransferMatrix changed = plan_transfer(files.request());
  take_over(changed, transfer_json(whole), "saved");
  CHECK(changed.measured() == 8);
  TransferRequest shorter = files.request();
  shorter.seq_len = 20;
  TransferMatrix other = plan_transfer(shorter);
  take_over(other, transfer_json(whole), "saved");
  CHECK(other.measured() == 0);
  CHECK_THROWS_TEXT(input, "saved: field cells", take_over(other, Json{{"cells", 3}}, "saved"));
  CHECK_THROWS_TEXT(input, "cells[0]", take_over(other, Json{{"cells", {Json{{"nll", "x"}}}}}, "saved"));
}

TEST_CASE("what does not fit is refused by name before anything is measured") {
  const Files files;
  const auto with = [&](auto change) {
    TransferRequest r = files.request();
    change(r);
    return r;
  };
  CHECK_THROWS_TEXT(input, "model W has words of width 32, model A of 16", plan_transfer(with([&](auto& r) {
                      r.models.push_back({"W", files.dir / "wide"});
                    })));
  CHECK_THROWS_TEXT(input, "model O has another tokenizer than model A", plan_transfer(with([&](auto& r) {
                      r.models.push_back({"O", files.dir / "other"});
                    })));
  CHECK_THROWS_TEXT(input, "r.safetensors: tensor prompt_embeddings has shape [3, 32]",
                    plan_transfer(with([&](auto& r) {
                      r.prompts.push_back({"R", files.dir / "r.safetensors"});
                    })));
  CHECK_THROWS_TEXT(usage, "the name A occurs twice", plan_transfer(with([&](auto& r) {
                      r.models.push_back({"A", files.dir / "b"});
                    })));
  CHECK_THROWS_TEXT(usage, "none", plan_transfer(with([](auto& r) { r.prompts[0].name = "none"; })));
  CHECK_THROWS_TEXT(usage, "prompt Q do not fit the 40 positions of model B",
                    plan_transfer(with([](auto& r) { r.seq_len = 36; })));
  CHECK_THROWS_TEXT(input, "short.txt", plan_transfer(with([&](auto& r) {
                      r.texts.push_back({"s", files.dir / "short.txt"});
                    })));
  CHECK_THROWS_CODE(usage, plan_transfer(with([](auto& r) { r.texts.clear(); })));
  CHECK_THROWS_CODE(input, plan_transfer(with([](auto& r) { r.models[1].path = "/nonexistent"; })));
}
