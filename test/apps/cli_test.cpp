#include "apps/cli.h"

#include "apps/command.h"
#include "core/error.h"
#include "test/apps/ran.h"

using namespace sinter;
using namespace sinter::test;

namespace {

struct Parsed {
  std::string model, text = "none";
  std::optional<std::int64_t> length;
  std::int64_t count = 7;
  double rate = 0.5;
  bool lines = false;
  std::vector<std::string> stop;
  bool run = false;
};

Parsed parse(const std::vector<std::string>& args) {
  Parsed p;
  Flags f("test", "A test", "  none");
  f.positional("MODEL", &p.model, "the model").alias("-m");
  f.option("--text", "S", &p.text, "text").alias("-p");
  f.option("--seq-len", "T", &p.length, "length").alias("--seqlen");
  f.option("--count", "N", &p.count, "count");
  f.option("--rate", "X", &p.rate, "rate");
  f.option("--stop", "S", &p.stop, "stop");
  f.option("--kind", "a|b", &p.text, "kind").one_of({"a", "b"});
  f.flag("--lines", p.lines, "lines");
  p.run = f.parse(args);
  return p;
}

std::string refusal(const std::vector<std::string>& args) {
  try {
    parse(args);
  } catch (const Error& e) {
    CHECK(e.code() == ErrorCode::usage);
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("flags take values after a space or an equals sign, in any order with the positional") {
  const Parsed p = parse({"--count", "3", "dir", "--rate=-1.5", "--text=a=b", "--lines"});
  CHECK(p.model == "dir");
  CHECK(p.count == 3);
  CHECK(p.rate == -1.5);
  CHECK(p.text == "a=b");
  CHECK(p.lines);
  CHECK_FALSE(p.length);
  CHECK(parse({"dir", "--count", "-3"}).count == -3);
}

TEST_CASE("underscores and aliases of peers name the same flag") {
  CHECK(parse({"dir", "--seq_len", "5"}).length == 5);
  CHECK(parse({"dir", "--seqlen=6"}).length == 6);
  CHECK(parse({"-m", "dir", "-p", "x"}).text == "x");
  CHECK(parse({"-m", "dir"}).model == "dir");
  CHECK(parse({"--model", "dir"}).model == "dir");
}

TEST_CASE("a flag is found by any of its names") {
  std::string model;
  std::int64_t length = 0;
  bool lines = false;
  Flags f("test", "A test", "  none");
  f.positional("MODEL", &model, "the model").alias("-m");
  f.option("--seq-len", "T", &length, "length").alias("--seqlen");
  f.flag("--lines", lines, "lines");
  const auto found = [&](const char* name) {
    const auto known = f.find(name);
    return known ? known->name + (known->takes_value ? " VALUE" : "") : "nothing";
  };
  CHECK(found("--seqlen") == "--seq-len VALUE");
  CHECK(found("--seq_len") == "--seq-len VALUE");
  CHECK(found("--lines") == "--lines");
  CHECK(found("--model") == "MODEL VALUE");
  CHECK(found("-m") == "MODEL VALUE");
  CHECK(found("--help") == "--help");
  CHECK(found("--line") == "nothing");
  CHECK(found("--lines=1") == "nothing");
}

TEST_CASE("values keep underscores, dashes, brackets and emptiness") {
  CHECK(parse({"dir", "--text", "--a_b"}).text == "--a_b");
  CHECK(parse({"dir", "--text", ""}).text.empty());
  CHECK(parse({"dir", "--text="}).text.empty());
  CHECK(parse({"dir", "--stop", "[a,b]", "--stop", "- c"}).stop == std::vector<std::string>{"[a,b]", "- c"});
  CHECK(parse({"--", "--dir"}).model == "--dir");
}

TEST_CASE("wrong flags are refused in one line that says what is wrong") {
  CHECK(refusal({"dir", "--seq-lem", "3"}).find("did you mean --seq-len?") != std::string::npos);
  CHECK(refusal({"dir", "--zzzzzzzz"}).find("unknown flag --zzzzzzzz") != std::string::npos);
  CHECK(refusal({"dir", "--count", "3x"}).find("--count: expected a whole number, found \"3x\"") != std::string::npos);
  CHECK(refusal({"dir", "--count", "99999999999999999999"}).find("--count") != std::string::npos);
  CHECK(refusal({"dir", "--rate", "nan"}).find("--rate: expected a number") != std::string::npos);
  CHECK(refusal({"dir", "--count"}).find("--count needs a value") != std::string::npos);
  CHECK(refusal({"dir", "--count", "1", "--count", "2"}).find("--count is given more than once") != std::string::npos);
  CHECK(refusal({"dir", "other"}).find("unexpected argument \"other\"") != std::string::npos);
  CHECK(refusal({"dir", "--lines=1"}).find("--lines takes no value") != std::string::npos);
  CHECK(refusal({"dir", "--kind", "c"}).find("expected a or b, found \"c\"") != std::string::npos);
  CHECK(refusal({"--count", "1"}).find("MODEL is missing") != std::string::npos);
}

TEST_CASE("--help wins over whatever else is wrong behind it") {
  CHECK_FALSE(parse({"--help", "--nonsense"}).run);
  CHECK_FALSE(parse({"-h"}).run);
  CHECK(parse({"dir"}).run);
}

TEST_CASE("the nearest word is one that differs by a typo, not any word") {
  const std::vector<std::string> words{"perplexity", "prompt", "pretrain"};
  CHECK(nearest_word("perplexty", words) == "perplexity");
  CHECK(nearest_word("promt", words) == "prompt");
  CHECK(nearest_word("perp", words) == "perplexity");
  CHECK(nearest_word("banana", words).empty());
}

TEST_CASE("the program and each sub-command explain themselves with examples") {
  const Ran program = sinter_run({"--help"});
  CHECK(program.code == 0);
  CHECK(sinter_run({"help"}).out == program.out);
  for (const auto& c : commands()) {
    CAPTURE(c.name);
    CHECK(program.out.find("\n  " + std::string(c.name)) != std::string::npos);
    std::vector<std::string> words;  // one or two
    std::istringstream name{std::string(c.name)};
    for (std::string word; name >> word;) words.push_back(word);
    std::vector<std::string> ask = words, other{"help"};
    ask.emplace_back("--help");
    other.insert(other.end(), words.begin(), words.end());
    const Ran r = sinter_run(ask);
    CHECK(r.code == 0);
    CHECK(r.err.empty());
    CHECK(r.out.find("Examples:\n  sinter " + std::string(c.name)) != std::string::npos);
    for (const char* common : {"--device", "--compute", "--threads", "--seed", "--json", "--quiet", "--progress"})
      CHECK(r.out.find(common) != std::string::npos);
    CHECK(sinter_run(other).out == r.out);
  }
  CHECK(sinter_run({"--version"}).out.starts_with("sinter "));
}

TEST_CASE("flags common to all sub-commands are checked before any work") {
  const std::string m = tiny().model;
  check_refused({}, 2, "sub-command is missing");
  check_refused({"perplexty"}, 2, "did you mean perplexity?");
  check_refused({"info", m, "--device", "cuda"}, 2, "CUDA");
  check_refused({"info", m, "--device", "cuda:x"}, 2, "--device");
  check_refused({"info", m, "--device", "tpu"}, 2, "found \"tpu\"");
  check_refused({"info", m, "--compute", "f16"}, 2, "f32 or bf16");
  check_refused({"info", m, "--threads", "0"}, 2, "--threads");
  check_refused({"info", m, "--seed", "-1"}, 2, "--seed");
  check_refused({"info", m, "--progress", "loud"}, 2, "bar, json or none");
  check_refused({"info", m, "--json", "/nonexistent/x.json"}, 1, "/nonexistent/x.json");
}

TEST_CASE("a result that cannot be written is exit code 1") {
  const Ran r = sinter_run({"tokenize", tiny().model, "--text", "a", "--json", "/dev/full"});
  CHECK(r.code == 1);
  CHECK(r.err.starts_with("sinter: /dev/full"));
  std::ostringstream err;
  std::ofstream full("/dev/full");
  CHECK(run_program({"tokenize", tiny().model, "--text", "a"}, {full, err, false}) == 1);
  CHECK(err.str().find("standard output") != std::string::npos);
}
