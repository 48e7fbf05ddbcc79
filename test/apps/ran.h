#pragma once
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/interrupt.h"
#include "apps/program.h"
#include "core/file.h"
#include "core/json.h"
#include "models/checkpoint.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"
#include "train/data/make_tokenizer.h"
#include "train/data/worlds.h"

// Runs the program inside the test process.
namespace sinter::test {

struct Ran {
  int code;
  std::string out, err;
  Json json() const { return parse_json(out, "standard output"); }
};

inline Ran sinter_run(const std::vector<std::string>& args) {
  std::ostringstream out, err;
  const int code = run_program(args, {out, err, false});
  return {code, out.str(), err.str()};
}

// The result of a run that succeeds.
inline Json run_json(std::vector<std::string> args) {
  args.insert(args.end(), {"--json", "-", "--quiet"});
  const Ran r = sinter_run(args);
  CAPTURE(r.err);
  REQUIRE(r.code == 0);
  return r.json();
}

// Ctrl-C once the first progress arrives.
struct StopAtFirstReport : std::stringbuf {
  int sync() override {
    set_interrupted(true);
    return 0;
  }
};

// The exit code, one line on standard error that begins with "sinter: " and holds `part`, nothing on standard output.
inline void check_refused(const std::vector<std::string>& args, int code, const std::string& part) {
  std::string command;
  for (const auto& a : args) command += a + " ";
  CAPTURE(command);
  const Ran r = sinter_run(args);
  CAPTURE(r.err);
  CHECK(r.code == code);
  CHECK(r.out.empty());
  CHECK(r.err.starts_with("sinter: "));
  CHECK(std::ranges::count(r.err, '\n') == 1);
  CHECK(r.err.find(part) != std::string::npos);
}

inline void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string worlds_text(std::uint64_t first, std::size_t count) {
  std::string text;
  for (const auto& d : make_worlds(1, first, count)) text += d;
  return text;
}

inline constexpr const char* kTinyConfig =
    R"({"model_type": "llama", "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "tie_word_embeddings": true})";

// A random model of 400 pieces with its tokenizer, and texts that suit it; made once.
struct TinyModel {
  TempDir dir;
  std::string model = (dir / "model").string(), text = (dir / "text.txt").string(),
              jsonl = (dir / "text.jsonl").string();
  TinyModel() {
    std::filesystem::create_directory(model);
    const std::string words = worlds_text(0, 200);
    make_tokenizer(words, 400, model);
    const Json config = parse_json(kTinyConfig, "config");
    save_weights(*random_model(parse_config(config, "config"), 3), model);
    write_text_atomic(model + "/config.json", json_text(config));
    write(text, words.substr(0, 4000));
    write(jsonl,
          Json{{"text", words.substr(0, 900)}}.dump() + "\n\n" + Json{{"text", words.substr(2000, 900)}}.dump() + "\n");
  }
};

inline const TinyModel& tiny() {
  static const TinyModel model;
  return model;
}

}  // namespace sinter::test
