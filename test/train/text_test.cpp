#include <doctest/doctest.h>
#include <zlib.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/file.h"
#include "models/checkpoint.h"
#include "test/check.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"
#include "train/batch.h"
#include "train/data/make_tokenizer.h"
#include "train/data/text.h"
#include "train/eval/perplexity.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("documents come from .txt, .jsonl and .json.gz; a bad record is named by file and line") {
  TempDir dir;
  write_text_atomic(dir / "a.txt", "one\n\ntwo\n");
  CHECK(read_documents(dir / "a.txt") == std::vector<std::string>{"one\n\ntwo\n"});
  const std::string records = "{\"text\": \"x\"}\n\n{\"text\": \"y z\", \"url\": 1}\n";
  write_text_atomic(dir / "b.jsonl", records);
  CHECK(read_documents(dir / "b.jsonl") == std::vector<std::string>{"x", "y z"});
  const gzFile gz = gzopen((dir / "c.json.gz").c_str(), "wb");
  gzwrite(gz, records.data(), unsigned(records.size()));
  gzclose(gz);
  CHECK(read_documents(dir / "c.json.gz") == std::vector<std::string>{"x", "y z"});
  CHECK(read_text_as_one(dir / "b.jsonl", {}) == "x y z");
  CHECK(read_text_as_one(dir / "b.jsonl", {.join = "|"}) == "x|y z");
  CHECK(read_text_as_one(dir / "b.jsonl", {.join = ""}) == "xy z");

  write_text_atomic(dir / "bad.jsonl", "{\"text\": \"x\"}\n{\"text\": \n");
  CHECK_THROWS_TEXT(input, "bad.jsonl, line 2", read_documents(dir / "bad.jsonl"));
  write_text_atomic(dir / "field.jsonl", "{\"txt\": \"x\"}\n");
  CHECK_THROWS_TEXT(input, "text", read_documents(dir / "field.jsonl"));
  write_text_atomic(dir / "empty.jsonl", "{\"text\": \"\"}\n");
  CHECK_THROWS_TEXT(input, "line 1", read_documents(dir / "empty.jsonl"));
  write_text_atomic(dir / "cut.json.gz", read_text(dir / "c.json.gz").substr(0, 20));
  CHECK_THROWS_TEXT(input, "cut.json.gz", read_documents(dir / "cut.json.gz"));
  CHECK_THROWS_TEXT(input, "nowhere.txt", read_documents(dir / "nowhere.txt"));
}

TEST_CASE("lines as rows are what Hugging Face's WikiText rows are") {
  TempDir dir;
  write_text_atomic(dir / "w.raw", " \n = Title = \n \n text\n");
  CHECK(read_text_as_one(dir / "w.raw", {.lines = true}) == "\n\n = Title = \n\n\n\n\n text\n");
  CHECK(read_text_as_one(dir / "w.raw", {.lines = true, .join = "+"}) == "+ = Title = \n++ text\n");
}

TEST_CASE("windows follow one another without overlap, and the tail is dropped") {
  const Windows w = consecutive_windows({1, 2, 3, 4, 5, 6, 7}, 3);
  CHECK(w == Windows{{1, 2, 3}, {4, 5, 6}});
  const Batch b = window_batch(std::vector<std::int32_t>{1, 2, 3, 4, 5, 6}, 3);
  CHECK(b.targets == std::vector<std::int32_t>{2, 3, -1, 5, 6, -1});
  CHECK(b.counted() == 4);
}

TEST_CASE("a sampler sees every window once per epoch, in an order of its own, whenever it is asked") {
  Windows windows;
  for (int i = 0; i < 7; ++i) windows.push_back({i, i});
  BatchSampler s(examples_of(windows), 2, 3), t(examples_of(windows), 2, 3);
  CHECK(s.batches_per_epoch() == 3);
  std::vector<std::vector<std::int32_t>> epochs;
  for (int e = 0; e < 2; ++e) {
    std::set<std::int32_t> seen;
    epochs.emplace_back();
    for (int i = 0; i < 3; ++i) {
      const auto ids = s.at(e * 3 + i).ids;
      seen.insert({ids[0], ids[2]});
      epochs.back().insert(epochs.back().end(), ids.begin(), ids.end());
    }
    CHECK(seen.size() == 6);
  }
  CHECK(epochs[0] != epochs[1]);
  CHECK(t.at(4).ids == s.at(4).ids);
  CHECK_THROWS_CODE(usage, BatchSampler(examples_of(windows), 8, 1));
}

TEST_CASE("calibration windows: drawn from text by seed, or taken from .json exactly as given") {
  TempDir dir;
  std::string text;
  for (int i = 0; i < 400; ++i) text += "word" + std::to_string(i % 17) + " and more of it. ";
  make_tokenizer(text, 290, dir.path());
  const auto tokenizer = Tokenizer::load(dir.path());
  write_text_atomic(dir / "c.txt", text);
  const auto draw = [&](std::uint64_t seed) {
    return read_calibration(dir / "c.txt", *tokenizer, 300, 4, 32, Rng{seed});
  };
  const Windows w = draw(1);
  CHECK(w.size() == 4);
  CHECK(w[0].size() == 32);
  CHECK(w == draw(1));
  CHECK(w != draw(2));

  write_text_atomic(dir / "w.json", "[[1, 2, 3], [4, 5, 299]]");
  CHECK(read_calibration(dir / "w.json", *tokenizer, 300, 9, 64, Rng{1}) == Windows{{1, 2, 3}, {4, 5, 299}});
  write_text_atomic(dir / "u.json", "[[1, 2, 3], [4, 5]]");
  CHECK_THROWS_TEXT(input, "window 1", read_calibration(dir / "u.json", *tokenizer, 300, 9, 64, Rng{1}));
  write_text_atomic(dir / "v.json", "[[1, 2, 300]]");
  CHECK_THROWS_TEXT(input, "300", read_calibration(dir / "v.json", *tokenizer, 300, 9, 64, Rng{1}));
  write_text_atomic(dir / "short.txt", "word1");
  CHECK_THROWS_TEXT(input, "short.txt", read_calibration(dir / "short.txt", *tokenizer, 300, 1, 64, Rng{1}));
}

TEST_CASE("perplexity of stories260K equals an independent computation") {
  SINTER_SHARED_OR_SKIP(dir, "models/stories260K");
  SINTER_SHARED_OR_SKIP(text, "tinystories/tinystories.test.txt");
  const Json want = read_json(golden("perplexity.json"));
  const auto model = load_model(dir);
  const auto ids = Tokenizer::load(dir)->encode(read_text(text).substr(0, want["text_bytes"].get<std::size_t>()));
  REQUIRE(std::int64_t(ids.size()) == want["tokens"].get<std::int64_t>());
  NullLog log;
  const Perplexity p = perplexity(*model, ids, {.seq_len = want["seq_len"].get<std::int64_t>()}, log);
  CHECK(p.scored_tokens == want["scored_tokens"].get<std::int64_t>());
  CHECK(p.ppl == doctest::Approx(want["perplexity"].get<double>()).epsilon(1e-5));
}
