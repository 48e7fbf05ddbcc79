// sinter recipe: what is checked before it starts, what it writes, and that it can be killed anywhere.
#include <map>

#include "apps/command.h"
#include "apps/commands.h"
#include "test/apps/ran.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

struct RecipeDir {
  TempDir dir;
  std::string file = (dir / "heal.json").string(), out = (dir / "out").string();

  void save(const Json& recipe) const { write(file, json_text(recipe)); }
  std::vector<std::string> args(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"recipe", file});
    return more;
  }
  Ran run(std::vector<std::string> more = {}) const { return sinter_run(args(std::move(more))); }
};

// Every kind of step, each a matter of milliseconds.
Json healing(const RecipeDir& r) {
  const auto steps = parse_json(R"([
    {"name": "small", "command": "compress", "model": "${model}", "method": "sparsegpt", "sparsity": "${sparsity}",
     "calibration": "${text}", "samples": 4, "seq-len": 32, "skip": "down_proj"},
    {"name": "before", "command": "perplexity", "model": "${small}", "text": "${text}", "seq_len": 32},
    {"name": "learned", "command": "prompt", "model": "${small}", "data": "${text}", "out": "${out}/p.safetensors",
     "tokens": 4, "steps": 4, "seq-len": 16},
    {"name": "after", "command": "perplexity", "model": "${small}", "text": "${text}", "seq-len": 32,
     "soft-prompt": "${learned}"},
    {"name": "factors", "command": "finetune", "model": "${small}", "method": "spp", "rank": 4, "data": "${text}",
     "steps": 4, "seq-len": 16, "batch": 2, "mask-inputs": false},
    {"name": "merged", "command": "merge", "model": "${small}", "adapter": "${factors}"},
    {"name": "healed", "command": "perplexity", "model": "${merged}", "text": "${text}", "seq-len": 32}])",
                                "steps");
  return {{"name", "healing"},
          {"out", r.out},
          {"variables", {{"model", tiny().model}, {"text", tiny().text}, {"sparsity", 0.5}}},
          {"steps", steps}};
}

Json& step(Json& recipe, const std::string& name) {
  for (Json& s : recipe["steps"])
    if (s["name"] == name) return s;
  FAIL("no step " << name);
  return recipe;
}

// Without what no two runs share.
Json timeless(Json json) {
  for (const char* key : {"seconds", "tokens_per_second", "peak_rss_bytes", "bytes"})
    if (json.is_object()) json.erase(key);
  for (auto& value : json)
    if (value.is_structured()) value = timeless(value);
  return json;
}

// Every file that a recipe left and its content, times aside.
std::map<std::string, std::string> all_files(const std::string& out) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    if (!entry.is_regular_file()) continue;
    const std::string name = fs::relative(entry.path(), out).native();
    if (name.ends_with("metrics.jsonl")) files[name];
    else if (name.ends_with(".json")) files[name] = timeless(read_json(entry.path())).dump();
    else files[name] = read_text(entry.path());
  }
  return files;
}

// Runs with `log` in place of the terminal; the message of the error that ended it, or nothing.
std::string run_within(LogSink& log, const std::vector<std::string>& args) {
  const auto command = make_recipe();
  Flags flags("recipe", "", "");
  command->declare(flags);
  REQUIRE(flags.parse(args));
  std::ostringstream out;
  Session s{out, log};
  s.command = as_typed("recipe", args);
  try {
    command->run(s);
  } catch (const Error& e) {
    CHECK(e.code() == ErrorCode::interrupted);
    return e.what();
  }
  return "";
}

// Copies the directory at every report of progress: what a process that is killed there leaves behind.
struct CopyAtReports final : LogSink {
  CopyAtReports(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  void progress(const Progress&) override {
    fs::copy(from_, to_ + std::to_string(count++), fs::copy_options::recursive);
  }
  int count = 0;

 private:
  std::string from_, to_;
};

struct StopAfter final : LogSink {
  explicit StopAfter(int reports) : left(reports) {}
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  void progress(const Progress&) override { --left; }
  bool stop_requested() const override { return left <= 0; }
  int left;
};

}  // namespace

TEST_CASE("steps use what earlier ones wrote; results are a table, a file and JSON") {
  const RecipeDir r;
  r.save(healing(r));
  const Ran ran = r.run({"--json", (r.dir / "copy.json").string()});
  CAPTURE(ran.err);
  REQUIRE(ran.code == 0);
  for (const char* part :
       {"step 1/7 small: sinter compress ", "step 7/7 healed: sinter perplexity ", "step     command", "results.json"})
    CHECK(ran.out.find(part) != std::string::npos);
  const Json json = read_json(r.dir / "copy.json"), written = read_json(r.out + "/results.json");
  REQUIRE(json["steps"].size() == 7);
  CHECK(json["steps"] == written["steps"]);
  CHECK(written["running"].is_null());
  CHECK(json["recipe"] == "healing");
  const auto result = [&](std::size_t i) { return json["steps"][i]["result"]; };
  CHECK(result(0)["totals"]["zeros"].get<double>() > 0.3);
  CHECK(result(3)["prompt_tokens"] == 4);
  CHECK(result(5)["zeros_after"] == result(5)["zeros_before"]);
  CHECK(json["steps"][0]["bytes"].get<std::int64_t>() > 10000);
  // The same command by hand.
  CHECK(run_json({"perplexity", r.out + "/merged", "--text", tiny().text, "--seq-len", "32"})["ppl"] ==
        result(6)["ppl"]);
  CHECK(fs::is_regular_file(r.out + "/p.safetensors"));

  check_refused(r.args(), 2, "holds the results of an earlier run");
  const Ran again = r.run({"--resume"});
  CHECK(again.code == 0);
  CHECK(again.err.find("step 7/7 healed: finished earlier") != std::string::npos);
  CHECK(read_json(r.out + "/results.json") == written);
}

TEST_CASE("a mistake in any step is found before the first one runs") {
  const RecipeDir r;
  const auto refused = [&](int code, const std::string& part, const std::function<void(Json&)>& change) {
    Json recipe = healing(r);
    change(recipe);
    r.save(recipe);
    check_refused(r.args(), code, part);
    CHECK_FALSE(fs::exists(r.out));
  };
  refused(2, "step healed: perplexity: unknown flag --seq-lem; did you mean --seq-len?",
          [](Json& j) { step(j, "healed")["seq-lem"] = 3; });
  refused(2, "step healed: --seq-len: expected a whole number, found \"long\"",
          [](Json& j) { step(j, "healed")["seq-len"] = "long"; });
  refused(2, "step small: --sparsity: expected a share from 0 to below 1 (0.5 is half), found 75",
          [](Json& j) { j["variables"]["sparsity"] = 75; });
  refused(2, "step learned: --lr: expected a number above 0", [](Json& j) { step(j, "learned")["lr"] = 0; });
  refused(2, "step factors: --batch: expected 1 or more", [](Json& j) { step(j, "factors")["batch"] = 0; });
  refused(2, "step factors: finetune: --method: expected spp, lora or full",
          [](Json& j) { step(j, "factors")["method"] = "sp"; });
  refused(2, "step healed: --max-chunks: expected 1 or more", [](Json& j) {
    step(j, "healed") = {{"name", "healed"},
                         {"command", "prompt transfer"},
                         {"models", "${merged}"},
                         {"data", "text.txt"},
                         {"max-chunks", 0}};
  });
  refused(2, "step healed: --count: expected 1 or more", [](Json& j) {
    step(j, "healed") = {{"name", "healed"}, {"command", "worlds"}, {"count", 0}};
  });
  refused(2, "step merged: merge: --adapter is missing", [](Json& j) { step(j, "merged").erase("adapter"); });
  refused(2, "step merged: merge: MODEL is missing", [](Json& j) { step(j, "merged").erase("model"); });
  refused(2, "step healed: no such sub-command: perplexty; did you mean perplexity?",
          [](Json& j) { step(j, "healed")["command"] = "perplexty"; });
  refused(2, "step healed: a recipe is no step", [](Json& j) { step(j, "healed")["command"] = "recipe"; });
  refused(2, "step healed: --model: no variable or earlier step is called mergd; did you mean merged?",
          [](Json& j) { step(j, "healed")["model"] = "${mergd}"; });
  refused(2, "step small: --model: ${merged} is this step or a later one",
          [](Json& j) { step(j, "small")["model"] = "${merged}"; });
  refused(2, "step merged: --model: step before writes nothing",
          [](Json& j) { step(j, "merged")["model"] = "${before}"; });
  refused(2, "step merged: --model: \"a${b\" has ${ without }", [](Json& j) { step(j, "merged")["model"] = "a${b"; });
  refused(2, "step small: the name is taken", [](Json& j) { step(j, "merged")["name"] = "small"; });
  refused(2, "step model: the name is taken", [](Json& j) { step(j, "merged")["name"] = "model"; });
  refused(2, "step a b: a name is made of", [](Json& j) { step(j, "merged")["name"] = "a b"; });
  refused(2, "step merged: writes " + r.out + "/factors as step factors does",
          [](Json& j) { step(j, "merged")["out"] = "${out}/factors"; });
  refused(2, "which is the recipe's own", [](Json& j) { step(j, "merged")["out"] = "${out}/results.json"; });
  refused(2, "step healed: --threads belongs to the whole recipe", [](Json& j) { step(j, "healed")["threads"] = 2; });
  refused(2, "step healed: --lines: expected true or false, found 1", [](Json& j) { step(j, "healed")["lines"] = 1; });
  refused(2, "step healed: --text: needs a value, found true", [](Json& j) { step(j, "healed")["text"] = true; });
  refused(2, "step healed: --text: expected a text", [](Json& j) { step(j, "healed")["text"] = nullptr; });
  refused(2, "--text is given more than once", [](Json& j) { step(j, "healed")["text"] = {"a", "b"}; });
  refused(2, "step healed: --seed: expected 0 or more", [](Json& j) { step(j, "healed")["seed"] = -1; });
  refused(3, "heal.json: field stepz: unknown; did you mean steps?", [](Json& j) { j["stepz"] = 1; });
  refused(3, "field steps: expected a list of steps", [](Json& j) { j["steps"] = Json::array(); });
  refused(3, "step 2: field name: missing", [](Json& j) { j["steps"][1].erase("name"); });
  refused(3, "field command: missing", [](Json& j) { j["steps"][1].erase("command"); });
  refused(3, "field out: missing", [](Json& j) { j.erase("out"); });
  refused(2, "longer than 65536 bytes", [](Json& j) {
    for (int i = 0; i < 40; ++i)
      j["variables"]["v" + std::to_string(i)] =
          i == 0 ? "12345678" : "${v" + std::to_string(i - 1) + "}${v0}" + "${v" + std::to_string(i - 1) + "}";
  });
  r.save(healing(r));
  check_refused(r.args({"--set", "modle=x"}), 2,
                "--set: no variable or earlier step is called modle; did you mean model?");
  check_refused(r.args({"--set", "model"}), 2, "--set: expected NAME=VALUE, found \"model\"");
  check_refused({"recipe", (r.dir / "none.json").string()}, 3, "none.json");
  fs::create_directory(r.out);
  write(r.out + "/notes.txt", "mine");
  check_refused(r.args(), 2, "holds no results of a recipe");
}

TEST_CASE("--dry-run prints commands for a shell and writes nothing; variables, seed and place come from outside") {
  const RecipeDir r;
  Json recipe = healing(r);
  recipe["variables"]["lines"] = true;
  step(recipe, "before")["lines"] = "${lines}";
  recipe["steps"].push_back(
      {{"name", "baked"}, {"command", "prompt bake"}, {"model", "${small}"}, {"soft-prompt", "${learned}"}});
  recipe["steps"].push_back({{"name", "story"},
                             {"command", "generate"},
                             {"model", "${small}"},
                             {"prompt", "Once upon"},
                             {"stop", {"a", "b"}},
                             {"seed", 7}});
  r.save(recipe);
  const auto lines = [&](std::vector<std::string> more) {
    more.emplace_back("--dry-run");
    const Ran ran = r.run(more);
    CAPTURE(ran.err);
    CHECK(ran.code == 0);
    return ran.out;
  };
  const std::string plain = lines({});
  CHECK(plain.find("# before\nsinter perplexity " + r.out + "/small --text " + tiny().text +
                   " --seq-len 32 --lines\n") != std::string::npos);
  CHECK(plain.find("sinter merge " + r.out + "/small --adapter " + r.out + "/factors --out " + r.out + "/merged\n") !=
        std::string::npos);
  CHECK(plain.find("sinter prompt bake " + r.out + "/small --soft-prompt " + r.out + "/p.safetensors --out " + r.out +
                   "/baked\n") != std::string::npos);
  CHECK(plain.find("--prompt 'Once upon' --stop a --stop b --seed 7\n") != std::string::npos);
  const std::string other = lines({"--set", "model=/m", "--set", "lines=false", "--out", "/elsewhere", "--seed", "3"});
  CHECK(other.find("sinter compress /m ") != std::string::npos);
  CHECK(other.find("--lines") == std::string::npos);
  CHECK(other.find("--adapter /elsewhere/factors --out /elsewhere/merged --seed 3\n") != std::string::npos);
  CHECK(other.find("--seed 7\n") != std::string::npos);
  CHECK_FALSE(fs::exists(r.out));
}

TEST_CASE("a process that is killed at any report of progress leaves what --resume brings to the same end") {
  const RecipeDir r;
  r.save(healing(r));
  CopyAtReports reports(r.out, (r.dir / "killed").string());
  REQUIRE(run_within(reports, {r.file}).empty());
  const auto whole = all_files(r.out);
  std::map<std::string, int> met;
  for (int i = 0; i < reports.count; ++i) {
    CAPTURE(i);
    fs::remove_all(r.out);
    fs::rename((r.dir / "killed").string() + std::to_string(i), r.out);
    const Json state = read_json(r.out + "/results.json");
    if (state["running"].is_object()) ++met[state["running"]["name"]];
    const Ran ran = r.run({"--resume", "--quiet"});
    CAPTURE(ran.err);
    REQUIRE(ran.code == 0);
    CHECK(all_files(r.out) == whole);
  }
  CHECK(met.size() == 7);  // in the middle of each step
}

TEST_CASE("a step that ended but could not say so runs again") {
  const RecipeDir r;
  r.save(healing(r));
  REQUIRE(r.run().code == 0);
  const auto whole = all_files(r.out);
  Json state = read_json(r.out + "/results.json");
  for (const char* name : {"small", "learned", "factors", "merged"}) {
    CAPTURE(name);
    Json killed = state;
    auto& steps = killed["steps"];
    const auto at = std::ranges::find_if(steps, [&](const Json& s) { return s["name"] == name; });
    killed["running"] = {{"name", name}, {"command", (*at)["command"]}, {"args", (*at)["args"]}};
    steps.erase(at, steps.end());
    write(r.out + "/results.json", json_text(killed));
    const Ran ran = r.run({"--resume"});
    CAPTURE(ran.err);
    CHECK(ran.code == 0);
    CHECK(all_files(r.out) == whole);
  }
}

TEST_CASE("Ctrl-C ends with 130 and says how to go on") {
  const RecipeDir r;
  r.save(healing(r));
  for (const int reports : {0, 3, 10, 20, 24}) {
    CAPTURE(reports);
    fs::remove_all(r.out);
    StopAfter stop(reports);
    const std::string message = run_within(stop, {r.file, "--set", "sparsity=0.6"});
    CAPTURE(message);
    CHECK(message.find("heal.json: step ") != std::string::npos);
    CHECK(message.find("sinter recipe " + r.file + " --set sparsity=0.6 --resume") != std::string::npos);
    NullLog log;
    CHECK(run_within(log, {r.file, "--set", "sparsity=0.6", "--resume"}).empty());
  }
}

TEST_CASE("a changed step runs again, and so do those that refer to it") {
  const RecipeDir r;
  Json recipe = healing(r);
  r.save(recipe);
  REQUIRE(r.run().code == 0);
  const Json before = read_json(r.out + "/results.json");
  step(recipe, "learned")["tokens"] = 5;
  r.save(recipe);
  const Ran ran = r.run({"--resume"});
  CAPTURE(ran.err);
  REQUIRE(ran.code == 0);
  const auto says = [&](const std::string& text) { return ran.err.find(text) != std::string::npos; };
  CHECK(says("step learned has changed and runs again"));
  CHECK(says("step after refers to learned and runs again"));
  CHECK(says("step 6/7 merged: finished earlier"));
  const Json after = read_json(r.out + "/results.json");
  for (std::size_t i = 0; i < 7; ++i) CHECK((after["steps"][i] == before["steps"][i]) == (i != 2 && i != 3));
  CHECK(after["steps"][3]["result"]["prompt_tokens"] == 5);

  fs::remove_all(r.out + "/factors");
  const Ran lost = r.run({"--resume"});
  CHECK(lost.code == 0);
  CHECK(lost.err.find("step factors has lost what it wrote and runs again") != std::string::npos);
  CHECK(lost.err.find("step healed refers to merged and runs again") != std::string::npos);
  CHECK(read_json(r.out + "/results.json")["steps"][6]["result"]["ppl"] == after["steps"][6]["result"]["ppl"]);
}

TEST_CASE("a step that fails keeps the finished ones, and results that cannot be read are named") {
  const RecipeDir r;
  Json recipe = healing(r);
  step(recipe, "before")["text"] = "/nonexistent.txt";
  r.save(recipe);
  const Ran ran = r.run({"--quiet"});
  CHECK(ran.code == 3);
  CHECK(ran.err.find("heal.json: step 2/7 before: /nonexistent.txt") != std::string::npos);
  CHECK(ran.err.find("; to go on: sinter recipe " + r.file + " --quiet --resume\n") != std::string::npos);
  CHECK(read_json(r.out + "/results.json")["steps"].size() == 1);
  check_refused(r.args(), 2, "holds the results of an earlier run");
  fs::remove_all(r.out);
  step(recipe, "small")["calibration"] = "/nonexistent.txt";
  r.save(recipe);
  CHECK(r.run().code == 3);
  step(recipe, "small")["calibration"] = "${text}";  // nothing was finished, so that nothing can be lost
  step(recipe, "before")["text"] = "${text}";
  r.save(recipe);
  CHECK(r.run().code == 0);
  write(r.out + "/results.json", R"({"steps": [{"name": "small", "seconds": "long"}]})");
  check_refused(r.args({"--resume"}), 3, "results.json: field seconds: expected a number");
}

TEST_CASE("the recipe that ships runs on the model that ships") {
  const TempDir dir;
  const std::string root = SINTER_SOURCE_DIR;
  const Json json = run_json({"recipe", root + "/docs/examples/heal.json", "--out", (dir / "out").string(), "--set",
                              "model=" + root + "/apps/demo/llama", "--set", "samples=2", "--set", "updates=2", "--set",
                              "chunks=2", "--set", "documents=30"});
  REQUIRE(json["steps"].size() == 12);
  for (const Json& s : json["steps"])
    if (s["command"] == "perplexity") CHECK(s["result"]["ppl"] > 1);
}
