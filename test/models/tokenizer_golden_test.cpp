#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/json.h"
#include "models/tokenizer.h"
#include "models/tokenizer_json.h"
#include "models/unicode.h"
#include "test/shared_data.h"

// Ids and texts that the sentencepiece and tokenizers packages gave; made by test/golden/make_tokenizer_golden.py.
namespace sinter {
namespace {

using Ids = std::vector<std::int32_t>;

std::filesystem::path fixture(const std::string& name) { return test::golden("tokenizers") / name; }

std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  DecodeStream stream(tokenizer, skip_special);
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string part = stream.push(id);
    CHECK(unicode::is_valid(part));
    text += part;
  }
  return text + stream.finish();
}

const std::vector<std::string> kNames = {"spm_llama",  "spm_plain",   "spm_unused",           "json_llama",
                                         "json_gpt2",  "json_llama3", "json_metaspace_first", "json_metaspace_split",
                                         "json_steps", "opt"};

TEST_CASE("Every format encodes and decodes as the reference implementations do") {
  for (const std::string& name : kNames) {
    CAPTURE(name);
    const auto tokenizer = Tokenizer::load(fixture(name));
    const Json cases = read_json(fixture(name) / "cases.json");
    REQUIRE(cases["encode"].size() > 100);
    REQUIRE(cases["decode"].size() > 60);
    for (const Json& c : cases["encode"]) {
      const std::string text = c["text"];
      CAPTURE(text);
      CHECK(tokenizer->encode(text, false) == c["ids"].get<Ids>());
      CHECK(tokenizer->encode(text) == c["with_special"].get<Ids>());
    }
    for (const Json& c : cases["decode"]) {
      const Ids ids = c["ids"].get<Ids>();
      CAPTURE(c["ids"].dump());
      CHECK(tokenizer->decode(ids) == c["text"].get<std::string>());
    }
  }
}

TEST_CASE("A decode stream gives valid UTF-8 pieces that add up to the decoded text") {
  for (const std::string& name : kNames) {
    CAPTURE(name);
    const auto tokenizer = Tokenizer::load(fixture(name));
    const Json cases = read_json(fixture(name) / "cases.json");
    REQUIRE(cases["decode"].size() > 60);
    for (const Json& c : cases["decode"]) {
      const Ids ids = c["ids"].get<Ids>();
      CHECK(streamed(*tokenizer, ids, true) == tokenizer->decode(ids));
      CHECK(streamed(*tokenizer, ids, false) == tokenizer->decode(ids, false));
    }
  }
}

TEST_CASE("A decode stream holds an unfinished character back and nothing else") {
  const auto tokenizer = Tokenizer::load(fixture("spm_llama"));
  const Ids euro = {*tokenizer->id("<0xE2>"), *tokenizer->id("<0x82>"), *tokenizer->id("<0xAC>")};
  DecodeStream stream(*tokenizer);
  CHECK(stream.push(*tokenizer->id("a")) == "a");
  CHECK(stream.push(euro[0]) == "");
  CHECK(stream.push(euro[1]) == "");
  CHECK(stream.push(euro[2]) == "\u20ac");
  CHECK(stream.push(euro[0]) == "");
  CHECK(stream.push(*tokenizer->id("b")) == "\ufffdb");
  CHECK(stream.push(euro[0]) == "");
  CHECK(stream.finish() == "\ufffd");
}

TEST_CASE("Single normalisers and pre-tokenisers agree with the tokenizers package") {
  std::set<std::string> kinds;
  for (const Json& step : read_json(fixture("steps.json"))) {
    const bool normalizes = step.contains("normalizer");
    const Json& config = normalizes ? step["normalizer"] : step["pre_tokenizer"];
    CAPTURE(config.dump());
    kinds.insert(config["type"]);
    std::vector<Normalizer> normalizers;
    std::vector<PreTokenizer> splitters;
    if (normalizes) {
      read_normalizer("steps", config, normalizers);
    } else {
      read_pre_tokenizer("steps", config, splitters);
    }
    for (const Json& c : step["cases"]) {
      std::string text = c[0];
      CAPTURE(text);
      if (normalizes) {
        normalizers.at(0)(text, true);
        CHECK(text == c[1].get<std::string>());
      } else {
        std::vector<std::string> words = {text};
        for (const PreTokenizer& split : splitters) split(words, true);
        CHECK(words == c[1].get<std::vector<std::string>>());
      }
    }
  }
  CHECK(kinds.size() == 13);
}

TEST_CASE("Valid UTF-8 survives encoding and decoding with a lossless tokenizer, random bytes as U+FFFD") {
  std::uint32_t state = 1;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 16; };
  for (const char* name : {"spm_llama", "json_llama", "opt", "json_llama3"}) {
    CAPTURE(name);
    const auto tokenizer = Tokenizer::load(fixture(name));
    for (int round = 0; round < 300; ++round) {
      std::string bytes;
      for (std::uint32_t n = next() % 40; n > 0; --n)
        bytes += static_cast<char>(next() % 3 ? next() % 256 : next() % 128);
      const std::string clean = unicode::replace_invalid(bytes);
      const Ids ids = tokenizer->encode(bytes, false);
      CHECK(ids == tokenizer->encode(clean, false));
      CHECK(tokenizer->decode(ids, false) == clean);
    }
  }
}

TEST_CASE("The bytes of the ids of a text add up to the text") {
  const std::string text = "Anna \u20ac \U0001F642 na\u00efve\n";
  for (const char* name : {"spm_llama", "json_llama", "opt", "json_gpt2"}) {
    CAPTURE(name);
    const auto tokenizer = Tokenizer::load(fixture(name));
    std::string bytes;
    for (const std::int32_t id : tokenizer->encode(text)) bytes += tokenizer->bytes(id);
    const bool spaced = std::string(name).find("llama") != std::string::npos;
    CHECK(bytes == (spaced ? " " + text : text));
  }
}

TEST_CASE("Ids, pieces and special tokens can be asked for") {
  const auto tokenizer = Tokenizer::load(fixture("opt"));
  CHECK(tokenizer->bos() == 2);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->pad() == 1);
  CHECK(tokenizer->piece(2) == "</s>");
  CHECK(tokenizer->is_special(2));
  CHECK_FALSE(tokenizer->is_special(10));
  CHECK(tokenizer->id("</s>") == 2);
  CHECK_FALSE(tokenizer->id("no such piece").has_value());
  CHECK(tokenizer->piece(-1) == "");
  CHECK(tokenizer->piece(1 << 30) == "");
  CHECK(tokenizer->decode(Ids{-5, 1 << 30, *tokenizer->id("a")}) == "a");
  CHECK(tokenizer->encode("") == Ids{2});
}

}  // namespace
}  // namespace sinter
