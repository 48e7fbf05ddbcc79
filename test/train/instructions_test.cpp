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
  // At exactly the cutoff the end token is there, one token below it is not.
  const std::string one = "{\"prompt\": \"a\", \"completion\": \"b\"}";
  const auto whole = f.read("p.jsonl", one).examples[0].ids;
  const auto fits = std::int64_t(whole.size());
  CHECK(f.read("p.jsonl", one, {fits, true}).cut == 0);
  CHECK(f.read("p.jsonl", one, {fits, true}).examples[0].ids == whole);
  CHECK(f.read("p.jsonl", one, {fits - 1, true}).cut == 1);
}

TEST_CASE("empty answers and those beyond the cutoff are counted; the place in the file goes with an example") {
  const Fixture f;
  const std::string records =
      "{\"prompt\": \"one two three four five six seven\", \"completion\": \"b\"}\n"
      "{\"instruction\": \"a\", \"input\": null, \"output\": \"\"}\n\n{\"prompt\": \"a\", \"completion\": \"\"}\n";
  const auto all = f.read("e.jsonl", records);
  CHECK(all.empty == 2);
  CHECK(all.unanswered == 0);
  const auto short_ones = f.read("e.jsonl", records, {8, false});
  CHECK(short_ones.unanswered == 2);
  REQUIRE(short_ones.examples.size() == 1);
  CHECK(short_ones.examples[0].source == 3);
  CHECK(short_ones.examples[0].ids.back() == *f.tokenizer->eos());
  CHECK_THROWS_TEXT(input, "no example with an answer within 2 tokens", f.read("e.jsonl", records, {2, false}));
}

TEST_CASE("a byte order mark and CRLF change nothing") {
  const Fixture f;
  const std::string record = "{\"prompt\": \"a b\", \"completion\": \"c\"}", mark = "\xEF\xBB\xBF";
  const auto plain = f.read("p.jsonl", record + "\n" + record + "\n");
  for (const auto& read : {f.read("q.jsonl", mark + record + "\r\n\r\n" + record + "\r\n"),
                           f.read("q.json", mark + "[" + record + ",\r\n" + record + "]\r\n")}) {
    REQUIRE(read.examples.size() == 2);
    for (int i : {0, 1}) CHECK(read.examples[std::size_t(i)].ids == plain.examples[std::size_t(i)].ids);
  }
  CHECK_THROWS_TEXT(input, "r.jsonl, line 2", f.read("r.jsonl", mark + record + "\r\n{\r\n"));
}

TEST_CASE("records of an array are named by number and line, whatever brackets, quotes and lines are in those before") {
  const Fixture f;
  const std::string text = R"(
  [ {"prompt": "a ] } , [ { \" \\", "completion": "x\ny",
     "extra": [1, {"b": [], "c": "]"}, [[2,
       3]]]},
    {"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "b"},

    {"prompt": "a", "completion": 7} ])";
  CHECK_THROWS_TEXT(input, "n.json, record 4 (line 7): field completion: expected a string, found 7",
                    f.read("n.json", text));
  CHECK_THROWS_TEXT(input, "m.json, record 2 (line 1)", f.read("m.json", R"([{"prompt": "a", "completion": ""},[]])"));
  CHECK_THROWS_TEXT(input, "field prompt: expected a string, found a list of 1",
                    f.read("w.json", R"([{"prompt": ["a"], "completion": ""}])"));
  CHECK_THROWS_TEXT(input, "field input: expected a string",
                    f.read("w.json", R"([{"instruction": "a", "input": {}, "output": ""}])"));
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
