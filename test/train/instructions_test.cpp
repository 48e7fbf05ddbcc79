#include "train/data/instructions.h"

#include "core/file.h"
#include "test/check.h"
#include "test/temp_dir.h"
#include "train/data/make_tokenizer.h"
#include "train/data/worlds.h"

namespace sinter {
namespace {

using test::TempDir;

struct Fixture {
  TempDir dir;
  std::shared_ptr<const Tokenizer> tokenizer;
  Fixture() {
    std::string text;
    for (const auto& d : make_worlds(1, 0, 20)) text += d;
    make_tokenizer(text, 400, dir.path(), TokenizerStyle::llama);
    tokenizer = Tokenizer::load(dir.path());
  }
  Instructions read(const std::string& name, const std::string& text, const InstructionOptions& o = {}) const {
    write_text_atomic(dir / name, text);
    return read_instructions(dir / name, *tokenizer, 400, o);
  }
};

}  // namespace

TEST_CASE("Alpaca records become the template, with and without input, from an array and from lines") {
  const Fixture f;
  const auto a = f.read("a.json", R"([{"instruction": "Say it.", "input": "", "output": "it"},
                                     {"instruction": "Say it.", "input": "twice", "output": "it it"}])");
  REQUIRE(a.examples.size() == 2);
  CHECK(f.tokenizer->decode(a.examples[0].ids) ==
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\n\n### Instruction:\nSay it.\n\n### Response:\nit");
  CHECK(f.tokenizer->decode(a.examples[1].ids) ==
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nSay it.\n\n### Input:\ntwice\n\n### "
        "Response:\nit it");
  const auto lines = f.read("a.jsonl", R"({"instruction": "Say it.", "output": "it"})");
  CHECK(lines.examples[0].ids == a.examples[0].ids);
  CHECK(a.examples[0].ids.front() == *f.tokenizer->bos());
  CHECK(a.examples[0].ids.back() == *f.tokenizer->eos());
  CHECK(holds_instructions(f.dir / "a.jsonl"));
  write_text_atomic(f.dir / "t.jsonl", R"({"text": "x"})");
  CHECK(!holds_instructions(f.dir / "t.jsonl"));
}

TEST_CASE("each row predicts the next id; masked inputs are in no loss, the end token is") {
  const Fixture f;
  const std::string record = R"({"prompt": "one two ", "completion": "three"})";
  const Example all = f.read("p.jsonl", record).examples[0];
  for (std::size_t t = 0; t + 1 < all.ids.size(); ++t) CHECK(all.targets[t] == all.ids[t + 1]);
  CHECK(all.targets.back() == -1);
  const Example masked = f.read("p.jsonl", record, {512, false}).examples[0];
  const std::size_t prompt = f.tokenizer->encode("one two ").size();
  for (std::size_t t = 0; t + 1 < masked.ids.size(); ++t)
    CHECK(masked.targets[t] == (t + 1 < prompt ? -1 : masked.ids[t + 1]));
  CHECK(masked.targets[masked.ids.size() - 2] == *f.tokenizer->eos());
}

TEST_CASE("what is cut loses its end token and is counted") {
  const Fixture f;
  const std::string two =
      "{\"prompt\": \"one two three four five\", \"completion\": \" six\"}\n"
      "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
  const auto cut = f.read("p.jsonl", two, {8, true});
  CHECK(cut.cut == 1);
  REQUIRE(cut.examples.size() == 2);
  CHECK(cut.examples[0].ids.size() == 8);
  CHECK(f.read("p.jsonl", two).cut == 0);
}

TEST_CASE("empty and malformed records are named by file and line") {
  const Fixture f;
  const std::string good = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
  CHECK_THROWS_TEXT(input, "b.jsonl, line 2", f.read("b.jsonl", good + "{\"prompt\": \"\", \"completion\": \"b\"}"));
  CHECK_THROWS_TEXT(input, "b.jsonl, line 3", f.read("b.jsonl", good + good + "{\"prompt\": "));
  CHECK_THROWS_TEXT(input, "completion", f.read("b.jsonl", "{\"prompt\": \"a\"}"));
  CHECK_THROWS_TEXT(input, "b.json, record 1", f.read("b.json", "[3]"));
  CHECK_THROWS_TEXT(input, "array", f.read("b.json", "{}"));
  CHECK_THROWS_TEXT(input, "no records", f.read("b.jsonl", "\n"));
}

}  // namespace sinter
