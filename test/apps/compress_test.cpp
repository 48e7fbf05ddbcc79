// sinter compress: what it writes, what it refuses.
#include "apps/compress_flags.h"

#include "apps/interrupt.h"
#include "core/tensor_file.h"
#include "test/apps/ran.h"
#include "test/file_size_limit.h"
#include "train/compress/run_state.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

std::vector<std::string> compress(const std::string& out, std::vector<std::string> more) {
  more.insert(more.begin(), {"compress", tiny().model, "--out", out});
  return more;
}

std::vector<std::string> calibrated(const std::string& out, std::vector<std::string> more) {
  more.insert(more.end(), {"--calibration", tiny().text, "--samples", "8", "--seq-len", "32"});
  return compress(out, more);
}

// The lines of a JSON file that hold no seconds, which no two runs share.
std::string without_seconds(const fs::path& file) {
  std::istringstream in(read_text(file));
  std::string text, line;
  while (std::getline(in, line))
    if (line.find("\"seconds\"") == std::string::npos) text += line + "\n";
  return text;
}

double ppl(const std::string& model) {
  return run_json({"perplexity", model, "--text", tiny().text, "--seq-len", "32"})["ppl"];
}

}  // namespace

TEST_CASE("a pruned model is complete, keeps its type and has the zeros that were asked for") {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  const Json json = run_json(calibrated(out, {"--method", "sparsegpt", "--pattern", "2:4"}));
  CHECK(json["pattern"] == "2:4");
  CHECK(json["samples"] == 8);
  REQUIRE(json["linears"].size() == 14);
  for (const char* key :
       {"name", "error", "zeros", "bits_per_weight", "damp", "ladder", "dead_columns", "warnings", "seconds"})
    CHECK(json["linears"][0].contains(key));
  CHECK(json["totals"]["zeros"] == 0.5);
  Json written = read_json(out + "/compression.json"), expected = json;
  for (const char* key : {"out", "seconds", "peak_rss_bytes"}) expected.erase(key);
  CHECK(written == expected);
  const Json& seconds = json["seconds"];
  double sum = 0;
  for (const char* phase : {"forward", "statistics", "solve", "write", "rest"}) {
    CHECK(seconds[phase] >= 0);
    sum += seconds[phase].get<double>();
  }
  CHECK(sum == doctest::Approx(seconds["all"].get<double>()));
  CHECK(read_text(out + "/tokenizer.model") == read_text(tiny().model + "/tokenizer.model"));
  Json config = read_json(out + "/config.json");
  CHECK(config["quantization_config"]["quant_method"] == "sinter");
  config.erase("quantization_config");
  CHECK(config == read_json(tiny().model + "/config.json"));
  const Json info = run_json({"info", out, "--verify"});
  CHECK(info["totals"]["zeros"] == 0.5);
  CHECK(info["totals"]["bits_per_weight"] == 17.0);
  CHECK(info["totals"]["bits"] == Json{{"values", 16.0}, {"mask", 1.0}, {"scales_and_zeros", 0.0}, {"order", 0.0}});
  CHECK(info["linears"][0]["format"] == "2:4 f32");
  CHECK_FALSE(fs::exists(out + ".partial"));
  CHECK(sinter_run({"generate", out, "--prompt", "Anna", "--max-new-tokens", "2"}).code == 0);
}

TEST_CASE("packed and dense results of one compression are the same model") {
  const TempDir dir;
  const std::vector<std::string> how{"--method",     "gptq", "--bits",      "3",
                                     "--group-size", "16",   "--act-order", "--true-sequential"};
  auto dense = how;
  dense.insert(dense.end(), {"--save", "dense"});
  run_json(calibrated((dir / "packed").string(), how));
  run_json(calibrated((dir / "dense").string(), dense));
  const std::string packed_dir = (dir / "packed").string(), dense_dir = (dir / "dense").string();
  // Products from codes and from f32 round differently.
  CHECK(ppl(packed_dir) == doctest::Approx(ppl(dense_dir)).epsilon(1e-5));
  CHECK(run_json({"info", packed_dir})["linears"][0]["format"] == "3 bits g16 act-order");
  CHECK(run_json({"info", packed_dir})["bytes_on_disk"] < run_json({"info", dense_dir})["bytes_on_disk"]);
  CHECK(read_json(packed_dir + "/config.json")["quantization_config"]["quant_method"] == "sinter");
  CHECK_FALSE(read_json(dense_dir + "/config.json").contains("quantization_config"));
}

TEST_CASE("the same bytes for one, two and three threads") {
  const TempDir dir;
  std::vector<std::string> weights;
  for (const std::string threads : {"1", "2", "3"}) {
    const std::string out = (dir / threads).string();
    run_json(calibrated(
        out, {"--method", "sparsegpt", "--sparsity", "0.6", "--bits", "4", "--threads", threads, "--seed", "3"}));
    weights.push_back(read_text(out + "/model.safetensors"));
  }
  CHECK(weights[0] == weights[1]);
  CHECK(weights[0] == weights[2]);
}

TEST_CASE("--only and --skip choose linears; data-free methods need no calibration") {
  const TempDir dir;
  const Json json = run_json(compress((dir / "out").string(), {"--method", "magnitude", "--sparsity", "0.5", "--only",
                                                               "layers\\.1\\.", "--skip", "down_proj"}));
  CHECK(json["linears"].size() == 6);
  const Json info = run_json({"info", (dir / "out").string()});
  CHECK(info["linears"][0]["zeros"] == 0.0);
  CHECK(info["linears"][7]["zeros"] == 0.5);
  CHECK(info["linears"][13]["zeros"] == 0.0);
  CHECK(run_json(compress((dir / "rtn").string(), {"--method", "rtn", "--wbits", "8"}))["linears"].size() == 14);
}

TEST_CASE("explicit windows need no tokenizer") {
  const TempDir dir;
  const std::string model = golden("models/opt_pre_norm").string(), out = (dir / "out").string();
  const Json json = run_json({"compress", model, "--out", out, "--method", "wanda", "--sparsity", "0.5",
                              "--calibration", golden("pipeline/opt_pre_norm.windows.json").string()});
  CHECK(json["samples"] == 32);
  CHECK(json["seq_len"] == 48);
  CHECK(run_json({"info", out})["totals"]["zeros"] == 0.5);
}

TEST_CASE("--dry-run says what it expects and writes nothing") {
  const TempDir dir;
  auto args = calibrated((dir / "out").string(), {"--method", "gptq", "--bits", "4", "--dry-run"});
  const Json e = run_json(args)["estimate"];
  CHECK(e["linears"] == 14);
  REQUIRE(e["phases"].size() == 4);
  for (const auto& phase : e["phases"]) CHECK(e["memory_bytes"] >= phase["bytes"]);
  CHECK(e["hidden_bytes"] == 8 * 32 * 32 * 4);
  CHECK(e["seconds"] > 0);
  CHECK(e["output_bytes"] < fs::file_size(tiny().model + "/model.safetensors"));
  CHECK(fs::is_empty(dir.path()));
  args.erase(std::ranges::find(args, "--dry-run"));
  run_json(args);
  // What the estimate promised, but for the file's header.
  const double real = double(fs::file_size(dir / "out/model.safetensors")), expected = e["output_bytes"];
  CHECK(std::abs(real - expected) < 10000);
}

TEST_CASE("settings that contradict one another are exit code 2") {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  check_refused(compress(out, {"--method", "sparsgpt", "--sparsity", "0.5"}), 2, "did you mean sparsegpt?");
  check_refused(compress(out, {"--sparsity", "0.5"}), 2, "--method is missing");
  check_refused({"compress", tiny().model, "--method", "magnitude", "--sparsity", "0.5"}, 2, "--out is missing");
  check_refused(calibrated(out, {"--method", "sparsegpt", "--sparsity", "0.5", "--pattern", "2:4"}), 2,
                "exclude each other");
  check_refused(calibrated(out, {"--method", "sparsegpt"}), 2, "needs --sparsity or --pattern");
  check_refused(calibrated(out, {"--method", "gptq"}), 2, "needs --bits");
  check_refused(calibrated(out, {"--method", "gptq", "--bits", "5"}), 2, "5");
  check_refused(calibrated(out, {"--method", "gptq", "--bits", "4", "--sparsity", "0.5"}), 2, "does not prune");
  check_refused(calibrated(out, {"--method", "gptq", "--bits", "4", "--group-size", "0"}), 2, "--group-size");
  check_refused(calibrated(out, {"--method", "wanda", "--sparsity", "50"}), 2, "expected a share");
  check_refused(calibrated(out, {"--method", "wanda", "--pattern", "2-4"}), 2, "2-4");
  check_refused(calibrated(out, {"--method", "wanda", "--pattern", "4:2"}), 2, "4:2");
  check_refused(calibrated(out, {"--method", "wanda", "--pattern", "2:7"}), 2, "7");
  check_refused(calibrated(out, {"--method", "wanda", "--sparsity", "0.5", "--act-order"}), 2,
                "does not take --act-order");
  check_refused(calibrated(out, {"--method", "wanda", "--sparsity", "0.5", "--only", "["}), 2, "regular expression");
  check_refused(calibrated(out, {"--method", "wanda", "--sparsity", "0.5", "--only", "nothing"}), 2,
                "no linear is selected");
  check_refused(calibrated(out, {"--method", "wanda", "--sparsity", "0.5", "--save", "gguf"}), 2, "packed or dense");
  check_refused(calibrated(out, {"--method", "gptq", "--bits", "4", "--percdamp", "-1"}), 2, "-1");
  check_refused(compress(out, {"--method", "wanda", "--sparsity", "0.5"}), 2, "needs --calibration");
  check_refused(
      compress(out, {"--method", "wanda", "--sparsity", "0.5", "--calibration", tiny().text, "--seq-len", "65"}), 2,
      "--seq-len: windows of 65 tokens exceed the model's 64 positions");
  check_refused(calibrated(tiny().model, {"--method", "wanda", "--sparsity", "0.5"}), 2, "not empty");
  CHECK(fs::is_empty(dir.path()));
}

TEST_CASE("calibration that cannot be used is exit code 3, and nothing is left behind") {
  const TempDir dir;
  const std::string out = (dir / "out").string(), windows = (dir / "windows.json").string();
  const auto with = [&](const std::string& file) {
    return compress(out, {"--method", "wanda", "--sparsity", "0.5", "--calibration", file});
  };
  check_refused(with((dir / "none.txt").string()), 3, "none.txt");
  write(windows, "[[1, 2, 3], [4, 5]]");
  check_refused(with(windows), 3, "window 1");
  write(windows, "[[1, 2, 400]]");
  check_refused(with(windows), 3, "400");
  write(dir / "short.txt", "Anna.");
  check_refused(with((dir / "short.txt").string()), 3, "tokens");
  CHECK_FALSE(fs::exists(out));
  CHECK_FALSE(fs::exists(out + ".partial"));
}

TEST_CASE("an interrupted compression is exit code 130 and leaves no output") {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  set_interrupted(true);
  const Ran r = sinter_run(calibrated(out, {"--method", "wanda", "--sparsity", "0.5"}));
  set_interrupted(false);
  CHECK(r.code == 130);
  CHECK(r.err == "sinter: compress: interrupted\n");
  CHECK(fs::is_empty(dir.path()));
}

TEST_CASE("a full disk is exit code 1; the finished blocks are kept and --resume ends with the same bytes") {
  const TempDir dir;
  const auto how = [&](const std::string& out, std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--method", "gptq", "--bits", "4", "--skip", "layers\\.1\\.(mlp|self_attn.[kvo])"});
    return calibrated((dir / out).string(), more);
  };
  run_json(how("whole"));
  {
    const FileSizeLimit full(16000);  // a block of codes fits, one of f32 does not
    const Ran r = sinter_run(how("out"));
    CHECK(r.code == 1);
    CHECK(r.err.find("File too large: 1 of 2 blocks are kept in ") != std::string::npos);
    CHECK(r.err.find("; to go on: sinter compress ") != std::string::npos);
    CHECK(r.err.ends_with("'layers\\.1\\.(mlp|self_attn.[kvo])' --calibration " + tiny().text +
                          " --samples 8 --seq-len 32 --resume\n"));
  }
  CHECK_FALSE(fs::exists(dir / "out"));
  check_refused(how("out", {"--resume", "--seed", "1"}), 2, "the interrupted run had seed 0, this one has 1");
  check_refused(how("out", {"--resume", "--percdamp", "0.02"}), 2, "had percdamp 0.01, this one has 0.02");
  const Ran r = sinter_run(how("out", {"--resume"}));
  CHECK(r.code == 0);
  CHECK(r.err.find("going on after block 1 of 2") != std::string::npos);
  CHECK(read_text(dir / "out/model.safetensors") == read_text(dir / "whole/model.safetensors"));
  CHECK(without_seconds(dir / "out/compression.json") == without_seconds(dir / "whole/compression.json"));
  CHECK_FALSE(fs::exists(dir / "out.partial"));
}

TEST_CASE("without --resume an earlier state is dropped, with a warning") {
  const TempDir dir;
  const auto args = calibrated((dir / "out").string(), {"--method", "magnitude", "--sparsity", "0.5"});
  RunState(dir / "out.partial/state", {{"bits", 4}}).record(1, 0, {}, {});
  auto resumed = args;
  resumed.push_back("--resume");
  check_refused(resumed, 2,
                "the interrupted run had bits 4, this one has none; without --resume the run starts afresh");
  CHECK(RunState::exists(dir / "out.partial/state"));
  const Ran r = sinter_run(args);
  CHECK(r.code == 0);
  CHECK(r.err.find("is dropped; --resume would have gone on with it") != std::string::npos);
  CHECK(fs::exists(dir / "out/model.safetensors"));
  resumed[3] = (dir / "new").string();
  CHECK(sinter_run(resumed).err.find("starting afresh") != std::string::npos);
}

TEST_CASE("--max-memory is obeyed by what changes no bit, or refused before anything is written") {
  const TempDir dir;
  const std::vector<std::string> how{"--method", "gptq", "--bits", "4"};
  const auto with = [&](const std::string& out, const std::string& limit, const std::string& flag = "--max-memory") {
    auto args = how;
    args.insert(args.end(), {flag, limit});
    return calibrated((dir / out).string(), args);
  };
  run_json(calibrated((dir / "plain").string(), how));
  run_json(with("much", "4GiB"));
  run_json(with("scratch", (dir / "hidden").string(), "--scratch"));
  CHECK(fs::is_empty(dir / "hidden"));
  for (const char* out : {"much", "scratch"})
    CHECK(read_text(dir / out / "model.safetensors") == read_text(dir / "plain/model.safetensors"));
  check_refused(with("out", "lots"), 2, "--max-memory: expected bytes such as 500000000, 512M or 4G, found \"lots\"");
  check_refused(with("out", "-1"), 2, "--max-memory");
  check_refused(with("out", "4X"), 2, "--max-memory");
  const Ran r = sinter_run(with("out", "1k"));
  CHECK(r.code == 2);
  CHECK(r.err.find("--max-memory: 1.0 kB is too little even with hidden states in files") != std::string::npos);
  CHECK_FALSE(fs::exists(dir / "out"));
  CHECK_FALSE(fs::exists(dir / "out.partial"));
}

TEST_CASE("inputs are looked at before the output") {
  const std::string used = tiny().model;
  check_refused(compress(used, {"--method", "wanda", "--sparsity", "0.5", "--calibration", "/none.txt"}), 3,
                "none.txt");
  check_refused(compress(used, {"--method", "rtn", "--bits", "4", "--only", "nothing"}), 2, "no linear is selected");
  check_refused(compress(used, {"--method", "rtn", "--bits", "4"}), 2, "exists and is not empty");
}
