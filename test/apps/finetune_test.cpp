// Healing through the program: what finetune learns, writes and refuses, and what the other sub-commands make of it.
#include <cmath>

#include "apps/train_flags.h"
#include "core/tensor_file.h"
#include "test/apps/ran.h"
#include "test/check.h"
#include "train/prompt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

// A pruned and a dense model with room for the Alpaca template, and data of every form.
struct Clinic {
  TempDir dir;
  std::string dense = (dir / "dense").string(), sparse = (dir / "sparse").string(), alpaca = (dir / "a.json").string(),
              pairs = (dir / "p.jsonl").string();
  Clinic() {
    fs::copy(tiny().model, dense);
    Json config = read_json(dense + "/config.json");
    config["max_position_embeddings"] = 256;
    write(dense + "/config.json", json_text(config));
    (void)run_json({"compress", dense, "--out", sparse, "--method", "magnitude", "--pattern", "2:4"});
    Json records = Json::array();
    std::string lines;
    for (int i = 0; i < 12; ++i) {
      const std::string n = std::to_string(i), twice = std::to_string(2 * i);
      records.push_back({{"instruction", "Double it."}, {"input", i % 3 == 0 ? "" : n}, {"output", twice}});
      lines += Json{{"prompt", "Twice " + n + " is "}, {"completion", twice}}.dump() + "\n";
    }
    write(alpaca, records.dump(1));
    write(pairs, lines);
  }
  std::string at(const std::string& name) const { return (dir / name).string(); }
};

const Clinic& clinic() {
  static const Clinic c;
  return c;
}

std::vector<std::string> finetune(const std::string& model, const std::string& method, const std::string& data,
                                  const std::string& out, const std::vector<std::string>& more = {}) {
  std::vector<std::string> args{"finetune", model, "--method", method, "--data", data, "--out", out, "--batch", "2"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

double ppl(const std::string& model, const std::vector<std::string>& more = {}) {
  std::vector<std::string> args{"perplexity", model, "--text", tiny().text, "--seq-len", "32", "--max-chunks", "8"};
  args.insert(args.end(), more.begin(), more.end());
  return run_json(args)["ppl"];
}

Tensor logits(const std::string& model, const std::vector<std::string>& more = {}) {
  const TempDir dir;
  std::vector<std::string> args{"logits", model, "--ids", "1,9,30,77", "--out", (dir / "l.safetensors").string()};
  args.insert(args.end(), more.begin(), more.end());
  (void)run_json(args);
  return TensorFile(dir / "l.safetensors").tensor("logits").clone();
}

std::string adapter_bytes(const std::string& dir) { return read_text(dir + "/adapter_model.safetensors"); }

// The lines of OUT.metrics.jsonl without their timings.
std::vector<Json> history(const std::string& out) {
  std::vector<Json> lines;
  std::istringstream in(read_text(out + ".metrics.jsonl"));
  for (std::string line; std::getline(in, line);) {
    lines.push_back(parse_json(line, "metrics"));
    lines.back().erase("seconds");
    lines.back().erase("tokens_per_second");
  }
  return lines;
}

}  // namespace

TEST_CASE(
    "SPP on Alpaca records: learned, measured on what is held out, used by every sub-command, merged with its zeros") {
  const Clinic& c = clinic();
  const TempDir dir;
  const auto out = (dir / "spp").string(), merged = (dir / "merged").string();
  const Json r =
      run_json(finetune(c.sparse, "spp", c.alpaca, out,
                        {"--rank", "4", "--val-size", "4", "--epochs", "2", "--eval-every", "3", "--lr", "0.02"}));
  CHECK(r["steps"] == 8);  // 8 examples in batches of 2, twice
  // Per layer: q, o [32, 32], k, v [16, 32], gate, up [48, 32], down [32, 48]: m + 4 n.
  CHECK(r["parameters"] == 2 * (2 * (32 + 128) + 2 * (16 + 128) + 2 * (48 + 128) + 32 + 192));
  CHECK(r["nll"].get<double>() < r["nll_initial"].get<double>());
  CHECK(r["ppl"].get<double>() == doctest::Approx(std::exp(r["nll"].get<double>())));
  CHECK(r["metrics"] == out + ".metrics.jsonl");
  CHECK_FALSE(fs::exists(out + ".state"));
  const auto lines = history(out);
  REQUIRE(lines.size() == 9);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    CHECK(lines[i]["step"] == i);
    CHECK(lines[i].contains("validation_nll") == (i % 3 == 0 || i == 8));
  }
  CHECK(lines[0]["validation_nll"] == r["nll_initial"]);
  CHECK(lines[r["best_step"].get<std::size_t>()]["validation_nll"] == r["nll"]);

  const Tensor learned = logits(c.sparse, {"--adapter", out});
  CHECK(distance(learned, logits(c.sparse)) > 1e-3);
  CHECK(ppl(c.sparse, {"--adapter", out}) != ppl(c.sparse));
  CHECK(sinter_run({"generate", c.sparse, "--prompt", "Anna", "--max-new-tokens", "3", "--adapter", out}).code == 0);
  const Json m = run_json({"merge", c.sparse, "--adapter", out, "--out", merged});
  CHECK(m["zeros"] == m["zeros_kept"]);
  CHECK(m["zeros_before"] == doctest::Approx(0.5));
  CHECK(distance(logits(merged), learned) < 1e-5);
}

TEST_CASE("LoRA on plain text: half precision of products, the same bits for the same seed, other bits for another") {
  const Clinic& c = clinic();
  const TempDir dir;
  const auto learn = [&](const std::string& name, const std::vector<std::string>& more) {
    const auto out = (dir / name).string();
    std::vector<std::string> flags{"--seq-len", "16",     "--steps", "6",       "--targets", "q_proj,v_proj", "--rank",
                                   "2",         "--join", "",        "--alpha", "8",         "--lr",          "0.01"};
    flags.insert(flags.end(), more.begin(), more.end());
    const Json r = run_json(finetune(c.sparse, "lora", tiny().jsonl, out, flags));
    CHECK(r["parameters"] == 2 * 2 * (32 + 32 + 32 + 16));
    return adapter_bytes(out);
  };
  const std::string a = learn("a", {"--threads", "1"});
  CHECK(a == learn("b", {"--threads", "2", "--resume", "--snapshot-every", "2"}));  // nothing to resume
  CHECK(a != learn("c", {"--seed", "1"}));
  CHECK(a != learn("d", {"--schedule", "constant"}));
  CHECK(a != learn("e", {"--compute", "bf16"}));
  CHECK(learn("f", {"--schedule", "cosine"}) == learn("g", {"--decay", "cosine"}));
  CHECK(ppl(c.sparse, {"--adapter", (dir / "e").string(), "--compute", "bf16"}) > 0);
  const Json config = read_json(dir / "a/adapter_config.json");
  CHECK(config["peft_type"] == "LORA");
  CHECK(config["lora_alpha"] == 8);
}

TEST_CASE("an interrupted finetune goes on with the same bits, and says how") {
  const Clinic& c = clinic();
  const TempDir dir;
  const auto args = [&](const std::string& out) {
    return finetune(
        c.sparse, "spp", c.pairs, out,
        {"--rank", "4", "--steps", "5", "--val-size", "2", "--eval-every", "2", "--resume", "--progress", "json"});
  };
  const auto whole = (dir / "whole").string(), parts = (dir / "parts").string();
  const Ran first = sinter_run(args(whole));
  REQUIRE(first.code == 0);
  for (const char* part : {"\"unit\":\"loss\"", "\"validation\":", "\"tokens/s\":"})
    CHECK(first.err.find(part) != std::string::npos);
  StopAtFirstReport buffer;
  std::ostream err(&buffer);
  std::ostringstream out;
  CHECK(run_program(args(parts), {out, err, false}) == 130);
  set_interrupted(false);
  CHECK(buffer.str().find("the state is in " + parts + ".state, the same command with --resume") != std::string::npos);
  CHECK(history(parts).size() == 2);
  auto other = args(parts);
  other[9] = "3";  // examples per batch
  check_refused(other, 3, "other settings");
  CHECK(sinter_run(args(parts)).code == 0);
  CHECK(adapter_bytes(whole) == adapter_bytes(parts));
  CHECK(history(whole) == history(parts));
  CHECK_FALSE(fs::exists(parts + ".state"));
}

TEST_CASE("all weights: --keep-mask leaves every zero, without it they fill; the result is a model") {
  const Clinic& c = clinic();
  const TempDir dir;
  const auto share = [](const std::string& model) {
    return run_json({"info", model})["totals"]["zeros"].get<double>();
  };
  const auto learn = [&](const std::string& name, const std::vector<std::string>& more) {
    const auto out = (dir / name).string();
    std::vector<std::string> flags{"--seq-len", "16", "--steps", "3", "--lr", "0.003"};
    flags.insert(flags.end(), more.begin(), more.end());
    (void)run_json(finetune(c.sparse, "full", tiny().text, out, flags));
    return out;
  };
  const auto masked = learn("masked", {"--keep-mask"}), filled = learn("filled", {});
  CHECK(share(c.sparse) == doctest::Approx(0.5));
  CHECK(share(masked) == doctest::Approx(0.5));
  CHECK(share(filled) < 0.01);
  CHECK(ppl(masked) < ppl(c.sparse));
  CHECK(ppl(filled) < ppl(c.sparse));
}

TEST_CASE("LoRA and all weights before compression: the healed model is compressed like any other") {
  const Clinic& c = clinic();
  const TempDir dir;
  const auto adapter = (dir / "adapter").string(), merged = (dir / "merged").string(), full = (dir / "full").string();
  const std::vector<std::string> flags{"--seq-len", "16", "--steps", "3", "--lr", "0.003"};
  (void)run_json(finetune(c.dense, "lora", tiny().text, adapter, flags));
  (void)run_json({"merge", c.dense, "--adapter", adapter, "--out", merged});
  (void)run_json(finetune(c.dense, "full", tiny().text, full, flags));
  for (const auto& model : {merged, full}) {
    const auto small = model + "-small";
    (void)run_json({"compress", model, "--out", small, "--method", "magnitude", "--sparsity", "0.5", "--bits", "4"});
    CHECK(run_json({"info", small})["totals"]["zeros"].get<double>() >= 0.45);
    CHECK(std::isfinite(ppl(small)));
  }
}

TEST_CASE("examples that are cut, left out or empty are counted aloud") {
  const Clinic& c = clinic();
  const TempDir dir;
  const auto data = (dir / "d.jsonl").string();
  write(data,
        "{\"prompt\": \"one two three four five six seven\", \"completion\": \" eight\"}\n"
        "{\"prompt\": \"a\", \"completion\": \"bcd efg hij klm nop qrs tuv\"}\n"
        "{\"prompt\": \"a\", \"completion\": \"\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n");
  const Ran r = sinter_run(finetune(c.sparse, "spp", data, (dir / "o").string(),
                                    {"--rank", "4", "--cutoff", "8", "--steps", "1", "--mask-inputs"}));
  CHECK(r.code == 0);
  CAPTURE(r.err);
  CHECK(r.err.find("1 of 4 examples are longer than 8 tokens and lose their end") != std::string::npos);
  CHECK(r.err.find("1 of 4 examples are left out") != std::string::npos);
  CHECK(r.err.find("1 of 4 examples have an empty answer") != std::string::npos);
}

TEST_CASE("data that cannot be used is exit code 3 with file and line") {
  const Clinic& c = clinic();
  const TempDir dir;
  const auto refused = [&](const std::string& name, const std::string& text, const std::string& part) {
    write(dir / name, text);
    check_refused(finetune(c.sparse, "spp", (dir / name).string(), (dir / "o").string(), {"--rank", "4"}), 3, part);
  };
  const std::string good = "{\"instruction\": \"a\", \"output\": \"b\"}";
  refused("a.jsonl", good + "\n{\"instruction\": \"a\"}\n", "a.jsonl, line 2: field output: missing");
  refused("b.json", "[" + good + ",\n {\"instruction\": \"\",\n \"output\": \"b\"}]",
          "b.json, record 2 (line 2): field instruction: expected a text that is not empty");
  refused("c.json", "[" + good + ",\n" + good + ",\n\n 5]",
          "c.json, record 3 (line 4): expected a JSON object, found 5");
  refused("d.json", "[{\"text\": \"a\"}]", "d.json, record 1 (line 1): has neither a field instruction nor prompt");
  refused("e.json", "[" + good + ",\n{]", "e.json: line 2");
  refused("f.jsonl", "", "f.jsonl");
  refused("g.txt", "", "g.txt");
  refused("h.jsonl", good + "\n[]\n", "h.jsonl, line 2: expected a JSON object");
  check_refused(finetune(c.sparse, "spp", (dir / "nowhere").string(), (dir / "o").string(), {"--rank", "4"}), 3,
                "nowhere");
}

TEST_CASE("flags of finetune that cannot be are exit code 2") {
  const Clinic& c = clinic();
  const TempDir dir;
  const auto refused = [&](const std::string& method, const std::vector<std::string>& more, const std::string& part) {
    check_refused(finetune(c.sparse, method, c.pairs, (dir / "o").string(), more), 2, part);
  };
  refused("sft", {}, "expected spp, lora or full");
  refused("spp", {"--rank", "5"}, "does not divide");
  check_refused(finetune(c.sparse, "spp", "/nonexistent", (dir / "o").string(), {"--rank", "5"}), 2,
                "model.layers.0.self_attn.q_proj: rank 5 does not divide the 32 rows");  // before any data are read
  refused("spp", {"--rank", "0"}, "--rank");
  refused("spp", {"--alpha", "16"}, "--alpha and --rslora are for lora");
  refused("lora", {"--alpha", "16", "--scale", "2"}, "exclude each other");
  refused("lora", {"--rslora"}, "needs --alpha");
  refused("lora", {"--targets", "nothing"}, "matches no linear");
  refused("lora", {"--targets", "q_proj("}, "regular expression");
  refused("lora", {"--keep-mask"}, "--keep-mask");
  refused("lora", {"--dropout", "1"}, "--dropout");
  refused("lora", {"--epochs", "0"}, "--epochs");
  refused("lora", {"--val-size", "12"}, "leave nothing to learn from");
  refused("lora", {"--train-on-inputs", "--mask-inputs"}, "exclude each other");
  refused("lora", {"--cutoff", "300"}, "256 positions");
  refused("lora", {"--patience", "-1"}, "--patience");
  refused("lora", {"--patience", "2"}, "needs held-out data");
  refused("lora", {"--snapshot-every", "-1"}, "--snapshot-every");
  refused("lora", {"--schedule", "sine"}, "--schedule");
  refused("lora", {"--lr", "0"}, "--lr");
  refused("lora", {"--lr", "inf"}, "--lr");
  check_refused(
      {"finetune", c.sparse, "--method", "lora", "--data", c.pairs, "--out", (dir / "o").string(), "--batch", "13"}, 2,
      "a batch needs 13");
  check_refused(finetune(c.sparse, "lora", tiny().text, (dir / "o").string(), {"--mask-inputs"}), 2,
                "no inputs to mask");
  check_refused(finetune(c.sparse, "lora", c.pairs, c.dense), 2, "not empty");
  check_refused({"finetune", c.sparse, "--method", "lora", "--data", c.pairs}, 2, "--out is missing");
  CHECK(fs::is_empty(dir.path()));
}

TEST_CASE("a result that cannot be saved leaves the state, from which --resume ends the training at once") {
  const TempDir dir;
  const auto model = load_model(tiny().model);
  PromptTask task(random_prompt(*model, 2, Rng{1}));
  const Example e{{1, 5, 9, 30}, {5, 9, 30, -1}};
  BatchSampler sampler({e, e}, 1, 0);
  TrainOptions o{.steps = 3, .schedule = {.peak = 0.1, .steps = 3}, .snapshot = dir / "o.state"};
  NullLog log;
  const auto full = [](const TrainResult&) { fail(ErrorCode::io, "o", "cannot be written: No space left on device"); };
  CHECK_THROWS_TEXT(io, "No space left on device; the state is in " + o.snapshot.string(),
                    run_training(*model, task, sampler, {}, o, log, full));
  CHECK(fs::exists(o.snapshot));
  const Tensor learned = task.prompt();
  PromptTask again(random_prompt(*model, 2, Rng{9}));
  o.resume = true;
  Tensor saved;
  (void)run_training(*model, again, sampler, {}, o, log, [&](const TrainResult& r) {
    CHECK(r.steps == 3);
    saved = again.prompt();
  });
  CHECK(same_bits(saved, learned));
  CHECK_FALSE(fs::exists(o.snapshot));
}
