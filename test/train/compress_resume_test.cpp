// Streaming, scratch files and resuming: all of it changes memory and time, and no bit of the result.
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "models/block_file.h"
#include "models/weights/formats.h"
#include "test/file_size_limit.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"
#include "test/train/compress_cases.h"
#include "test/train/pipeline_cases.h"
#include "train/compress/pipeline.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "models/llama_bf16_sharded";

// Stops after so many reports of progress.
struct StopLog final : LogSink {
  explicit StopLog(int after = 1 << 30) : after_(after) {}
  void note(std::string_view text) override { notes.emplace_back(text); }
  void warn(std::string_view text) override { warnings.emplace_back(text); }
  void progress(const Progress&) override { ++seen; }
  bool stop_requested() const override { return seen >= after_; }
  std::vector<std::string> notes, warnings;
  int seen = 0;

 private:
  int after_;
};

std::map<std::string, std::string> weights(CausalLM& model) {
  std::map<std::string, std::string> all;
  model.each_linear([&](Linear& l) {
    for (const auto& [part, t] : l.frozen()->pack().parts)
      all[l.name() + "." + part] = std::string(reinterpret_cast<const char*>(t.raw()), t.bytes());
  });
  return all;
}

// Reports as JSON, but for the seconds.
std::vector<std::string> facts(std::vector<LayerReport> reports) {
  std::vector<std::string> all;
  for (LayerReport& r : reports) {
    r.seconds = 0;
    all.push_back(report_json(r).dump());
  }
  return all;
}

struct Outcome {
  std::vector<std::string> reports;
  std::map<std::string, std::string> weights;
  bool operator==(const Outcome&) const = default;
};

Outcome run(const CompressPlan& plan, LogSink& log, RunState* state = nullptr) {
  const auto model = load_model(golden(kModel));
  const Windows w = windows();
  auto reports = compress(*model, w, plan, log, state);
  return {facts(std::move(reports)), weights(*model)};
}

Outcome run(const CompressPlan& plan) {
  NullLog log;
  return run(plan, log);
}

std::size_t entries(const fs::path& dir) { return std::size_t(std::distance(fs::directory_iterator(dir), {})); }

}  // namespace

TEST_CASE("Scratch files, one stage at a time and streaming change no bit") {
  const TempDir dir;
  CompressPlan plan = plan_of("sparsegpt", {{"bits", "3"}}, Fraction{0.5});
  const Outcome plain = run(plan);
  plan.one_stage = true;
  CHECK(run(plan) == plain);
  plan.scratch = dir / "scratch";
  CHECK(run(plan) == plain);
  CHECK(entries(dir / "scratch") == 0);
  NullLog log;
  RunState state(dir / "state", {{"a", 1}});
  CHECK(run(plan, log, &state) == plain);
  CHECK(entries(dir / "scratch") == 0);
  CHECK(state.finished() == 2);
  CHECK(fs::exists(state.block_file(1)));
}

TEST_CASE("Stopped at any moment and taken up again, a run ends with the same bytes") {
  for (const bool scratch : {false, true})
    for (const bool sequential : {false, true}) {
      const TempDir dir;
      CompressPlan plan = plan_of("gptq", {{"bits", "4"}, {"group", "16"}});
      plan.true_sequential = sequential;
      const Outcome whole = run(plan);
      if (scratch) plan.scratch = dir / "scratch";
      int finished = 0;
      for (int after = 1;; ++after) {
        CAPTURE(after);
        const fs::path at = dir / ("state" + std::to_string(after));
        StopLog stop(after), log;
        {
          RunState state(at, {{"seed", 0}});
          try {
            run(plan, stop, &state);
            break;
          } catch (const Error& e) { CHECK(e.code() == ErrorCode::interrupted); }
          finished = state.finished();
        }
        RunState state(at, {{"seed", 0}});
        CHECK(state.finished() == finished);
        const bool found = finished == 0 || state.hidden() > 0;
        CHECK(run(plan, log, &state) == whole);
        CHECK(log.notes.empty() == found);  // "computed again"
      }
      CHECK(finished == 1);
      if (scratch) CHECK(entries(dir / "scratch") == 0);
    }
}

TEST_CASE("A run that finished all its blocks is taken up without work") {
  const TempDir dir;
  const CompressPlan plan = plan_of("wanda", {}, KeepOf{2, 4});
  NullLog log;
  RunState first(dir / "state", {{"seed", 0}});
  const Outcome whole = run(plan, log, &first);
  RunState again(dir / "state", {{"seed", 0}});
  StopLog quiet;
  CHECK(run(plan, quiet, &again) == whole);
  CHECK(quiet.seen == 0);
}

TEST_CASE("A full disk is Error(io), keeps the finished blocks, and the run goes on when there is room") {
  const TempDir dir;
  const CompressPlan plan = plan_of("gptq", {{"bits", "4"}});
  const Outcome whole = run(plan);
  {
    StopLog stop(12);
    RunState state(dir / "state", {{"seed", 0}});
    CHECK_THROWS_CODE(interrupted, run(plan, stop, &state));
    CHECK(state.finished() == 1);
  }
  {
    const FileSizeLimit full(4000);
    NullLog log;
    RunState state(dir / "state", {{"seed", 0}});
    CHECK_THROWS_TEXT(io, "File too large", run(plan, log, &state));
  }
  {
    const FileSizeLimit full(1000);
    CompressPlan scratched = plan_of("gptq", {{"bits", "4"}});
    scratched.scratch = dir / "scratch";
    CHECK_THROWS_TEXT(io, "cannot be written: File too large", run(scratched));
    CHECK(entries(dir / "scratch") == 0);
  }
  NullLog log;
  RunState state(dir / "state", {{"seed", 0}});
  CHECK(state.finished() == 1);
  CHECK(run(plan, log, &state) == whole);
}

TEST_CASE("Another run's state is refused with the field that differs and both values") {
  const TempDir dir;
  const Json settings = {{"bits", 4}, {"model", {{"config.json", {{"bytes", 10}}}}}, {"only", nullptr}};
  RunState(dir / "s", settings).record(1, 0, {}, {});
  const auto refused = [&](const char* pointer, const Json& value, const char* text) {
    Json other = settings;
    other[Json::json_pointer(pointer)] = value;
    CHECK_THROWS_TEXT(usage, text, RunState(dir / "s", other));
  };
  CHECK(RunState(dir / "s", settings).finished() == 1);
  refused("/bits", 3, "the interrupted run had bits 4, this one has 3");
  refused("/only", "mlp", "had only none, this one has \"mlp\"");
  refused("/model/config.json/bytes", 11, "had model.config.json.bytes 10, this one has 11");
  refused("/more", 1, "had more none, this one has 1");
}

TEST_CASE("A manifest that is not one is Error(input), and one of a later version is not guessed at") {
  const TempDir dir;
  RunState(dir / "s", {{"seed", 0}}).record(1, 0, {}, {});
  const fs::path file = dir / "s/manifest.json";
  const Json good = read_json(file);
  const auto with = [&](const char* pointer, const Json& value) {
    Json bad = good;
    bad[Json::json_pointer(pointer)] = value;
    write_text_atomic(file, json_text(bad));
    return RunState(dir / "s", {{"seed", 0}}).finished();
  };
  CHECK(with("/finished", 1) == 1);
  CHECK_THROWS_TEXT(usage, "version 2", with("/version", 2));
  CHECK_THROWS_TEXT(input, "finished", with("/finished", -1));
  CHECK_THROWS_TEXT(input, "hidden", with("/hidden", 2));
  CHECK_THROWS_TEXT(input, "linears", with("/linears", 1));
  CHECK_THROWS_TEXT(input, "shape", with("/linears", {{{"shape", 1}}}));
  CHECK_THROWS_TEXT(input, "forward", with("/seconds", Json::object()));
  write_text_atomic(file, "{");
  CHECK_THROWS_CODE(input, RunState(dir / "s", {{"seed", 0}}));
}

TEST_CASE("A model's fingerprint changes with a byte of its header, of its config, and of any small file") {
  const TempDir dir;
  fs::copy(golden(kModel), dir / "m");
  const Json before = model_fingerprint(dir / "m");
  CHECK(before.size() == 6);  // config, index, three shards, and the golden values beside them
  CHECK(model_fingerprint(dir / "m") == before);
  for (const char* name : {"config.json", "model.safetensors.index.json", "model-00002-of-00003.safetensors"}) {
    std::string text = read_text(dir / "m" / name);
    text[text.size() / 2] ^= 1;
    write_text_atomic(dir / "m" / name, text);
    const Json after = model_fingerprint(dir / "m");
    CHECK(after[name]["hash"] != before[name]["hash"]);
    CHECK(after[name]["bytes"] == before[name]["bytes"]);
  }
  CHECK(windows_fingerprint({{1, 2}, {3, 4}}) != windows_fingerprint({{1, 2, 3, 4}}));
  CHECK(windows_fingerprint({{1, 2}}) != windows_fingerprint({{1, 3}}));
}

TEST_CASE("What overflows in bf16 is seen again in f32; what is not finite there names block, linear and column") {
  const auto model = load_model(golden("models/llama_gqa_tied"));
  std::vector<Linear*> linears;
  model->each_linear([&](Linear& l) { linears.push_back(&l); });
  Tensor broken = linears[5]->dense().clone();  // up_proj of block 1
  const std::int64_t width = broken.shape()[1];
  broken.mutable_data<float>()[std::size_t(3 * width)] = INFINITY;
  linears[5]->replace(freeze_dense(broken));
  CompressPlan plan = plan_of("gptq", {{"bits", "4"}});
  plan.only = "down_proj";
  plan.compute = Compute::bf16;
  StopLog log;
  CHECK_THROWS_TEXT(numeric, "layers.0.mlp.down_proj: block 1: the inputs of column 3 are not finite",
                    compress(*model, windows(), plan, log));
  REQUIRE(log.warnings.size() >= 1);
  CHECK(std::ranges::any_of(log.warnings,
                            [](const std::string& w) { return w.ends_with("block 1 is run again in f32"); }));
}

TEST_CASE("A block's file holds all of it, and is refused for another model") {
  const TempDir dir;
  const auto model = load_model(golden(kModel)), other = load_model(golden("models/opt_pre_norm"));
  save_block(*model, 1, dir / "block.safetensors");
  const TensorFile file(dir / "block.safetensors");
  CHECK(file.names().size() == 9);
  CHECK_THROWS_TEXT(input, "model.layers.0.self_attn.q_proj.weight is missing",
                    map_block(*model, 0, dir / "block.safetensors"));
  CHECK_THROWS_CODE(input, map_block(*other, 1, dir / "block.safetensors"));
  const auto before = weights(*model);
  map_block(*model, 1, dir / "block.safetensors");
  CHECK(weights(*model) == before);
}

TEST_CASE("A model larger than a shard becomes one shard per block; finished blocks are moved, not copied") {
  const TempDir dir;
  const auto model = load_model(golden(kModel));
  const auto before = weights(*model);
  fs::create_directory(dir / "out");
  save_block(*model, 1, dir / "b1");
  const SaveOptions small{.source = DType::bf16, .shard_bytes = 1000};
  const auto file_of = [&](int b) { return dir / ("b" + std::to_string(b)); };
  assemble_model(*model, dir / "out", small, file_of);
  CHECK_FALSE(fs::exists(dir / "b1"));
  CHECK(entries(dir / "out") == 4);
  assemble_model(*model, dir / "out", small, file_of);  // killed before it was done: again
  fs::copy(golden(kModel) / "config.json", dir / "out/config.json");
  const auto again = load_model(dir / "out");
  CHECK(weights(*again) == before);
  CHECK(read_json(dir / "out/model.safetensors.index.json")["weight_map"]["model.norm.weight"] ==
        "model-00001-of-00003.safetensors");
}
