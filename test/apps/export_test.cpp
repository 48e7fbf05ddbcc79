#include <filesystem>

#include "models/interchange/grid_linear.h"
#include "models/interchange/hf_export.h"
#include "models/weights/formats.h"
#include "test/apps/ran.h"
#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// Sides that are multiples of 32, and groups that divide them.
constexpr const char* kConfig =
    R"({"model_type": "llama", "vocab_size": 400, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "tie_word_embeddings": true, "future_key": [1, 2]})";

struct Source {
  TempDir dir;
  std::string model = (dir / "model").string();
  Source() {
    std::filesystem::create_directory(model);
    for (const char* file : {"tokenizer.model", "tokenizer_config.json", "tokenizer.json"})
      if (std::filesystem::exists(tiny().model + "/" + file))
        std::filesystem::copy_file(tiny().model + "/" + file, model + "/" + file);
    const Json config = parse_json(kConfig, "config");
    save_weights(*random_model(parse_config(config, "config"), 5), model,
                 {.params = DType::bf16, .source = DType::bf16});
    write_text_atomic(model + "/config.json", json_text(config));
    write_text_atomic(model + "/generation_config.json", "{\"top_k\": 7}\n");
  }
  // A compression of it under `name`.
  std::string compressed(const std::string& name, std::vector<std::string> flags) const {
    const std::string out = (dir / name).string();
    if (std::filesystem::exists(out)) return out;
    flags.insert(flags.begin(), {"compress", model, "--out", out, "--quiet"});
    const Ran r = sinter_run(flags);
    CAPTURE(r.err);
    REQUIRE(r.code == 0);
    return out;
  }
};

const Source& source() {
  static const Source s;
  return s;
}

std::string rtn(const std::string& name, std::vector<std::string> flags) {
  flags.insert(flags.begin(), {"--method", "rtn"});
  return source().compressed(name, flags);
}

std::string four_bits() { return rtn("sym", {"--bits", "4", "--group-size", "32", "--sym"}); }
std::string three_bits() { return rtn("row", {"--bits", "3", "--sym"}); }
// 2:4 and 4 bits in one sweep, as codes with a mask.
std::string joint() {
  return source().compressed("joint", {"--method", "sparsegpt", "--pattern", "2:4", "--bits", "4", "--group-size", "32",
                                       "--sym", "--calibration", tiny().text, "--samples", "4", "--seq-len", "32"});
}

Json exported(const std::string& model, const std::string& to, const std::string& out,
              std::vector<std::string> flags = {}) {
  flags.insert(flags.begin(), {"export", model, "--to", to, "--out", out, "--json", "-"});
  const Ran r = sinter_run(flags);
  CAPTURE(r.err);
  REQUIRE(r.code == 0);
  return r.json();
}

// Every linear's values and grid are the same, bit for bit.
void check_same_linears(const std::string& a, const std::string& b) {
  const auto x = load_model(a), y = load_model(b);
  std::vector<Linear*> others;
  y->each_linear([&](Linear& l) { others.push_back(&l); });
  std::size_t i = 0;
  x->each_linear([&](Linear& l) {
    CAPTURE(l.name());
    const Linear& other = *others[i++];
    CHECK(same_bits(l.dense(), other.dense()));
    const auto p = from_packed(l.frozen()->pack()), q = from_packed(other.frozen()->pack());
    if (!p || !q) return;
    CHECK(p->bits == q->bits);
    CHECK(same_bits(p->codes, q->codes));
    CHECK(same_bits(p->zero, q->zero));
    CHECK(same_bits(p->scale, q->scale));
    CHECK(p->group_of == q->group_of);
  });
}

}  // namespace

TEST_CASE("export: codes, scales and zeros come back bit for bit from every format") {
  TempDir out;
  int n = 0;
  for (const char* bits : {"2", "3", "4", "8"})
    for (const char* group : {"-1", "32"})
      for (const bool symmetric : {true, false}) {
        std::vector<std::string> flags = {"--bits", bits, "--group-size", group};
        if (symmetric) flags.emplace_back("--sym");
        const std::string model = rtn("rtn" + std::to_string(n++), flags);
        for (const char* to : {"gptq", "compressed-tensors", "dense"}) {
          CAPTURE(model);
          CAPTURE(to);
          const std::string dir = (out / (std::to_string(n) + to)).string();
          const Json json = exported(model, to, dir);
          CHECK(json["exact"] == true);
          CHECK(json["bytes"].get<std::uint64_t>() > 10000);
          check_same_linears(model, dir);
        }
      }
}

TEST_CASE("export: config.json says what was written, and other files stay") {
  TempDir out;
  const std::string symmetric = four_bits(), asymmetric = rtn("asym", {"--bits", "4", "--group-size", "32"}),
                    per_row = three_bits();
  const auto config = [&](const std::string& model, const std::string& to) {
    const std::string dir = (out / (std::filesystem::path(model).filename().string() + to)).string();
    exported(model, to, dir);
    CHECK(std::filesystem::exists(dir + "/compression.json"));
    CHECK(read_text(dir + "/generation_config.json") == "{\"top_k\": 7}\n");
    CHECK(std::filesystem::exists(dir + "/quantize_config.json") == (to == "gptq"));
    CHECK(sinter_run({"info", dir, "--verify"}).err.find("not part of the model") == std::string::npos);
    return read_json(dir + "/config.json");
  };
  Json c = config(symmetric, "gptq");
  CHECK(c["future_key"] == Json({1, 2}));
  CHECK(c["quantization_config"]["quant_method"] == "gptq");
  CHECK(c["quantization_config"]["checkpoint_format"] == "gptq");
  CHECK(c["quantization_config"]["sym"] == true);
  CHECK(c["quantization_config"]["group_size"] == 32);
  c = config(asymmetric, "gptq");
  CHECK(c["quantization_config"]["checkpoint_format"] == "gptq_v2");
  CHECK(c["quantization_config"]["sym"] == false);
  c = config(per_row, "gptq");
  CHECK(c["quantization_config"]["group_size"] == -1);
  c = config(per_row, "compressed-tensors");
  CHECK(c["quantization_config"]["version"] == "0.17.0");
  CHECK(c["quantization_config"]["ignore"] == Json({"lm_head"}));
  CHECK(c["quantization_config"]["config_groups"]["group_0"]["weights"]["strategy"] == "channel");
  c = config(asymmetric, "compressed-tensors");
  CHECK(c["quantization_config"]["config_groups"]["group_0"]["weights"]["symmetric"] == false);
  c = config(symmetric, "dense");
  CHECK_FALSE(c.contains("quantization_config"));
  CHECK(c["torch_dtype"] == "float32");
}

TEST_CASE("export: the zeros of a joint model stay zeros in every format") {
  TempDir out;
  const std::string model = joint();
  const auto before = load_model(model);
  for (const char* to : {"gptq", "compressed-tensors", "dense"}) {
    CAPTURE(to);
    const std::string dir = (out / to).string();
    CHECK(exported(model, to, dir)["exact"] == true);
    check_same_linears(model, dir);
    load_model(dir)->each_linear([&](Linear& l) {
      const Tensor w = l.dense();
      CHECK(std::ranges::count(w.data<float>(), 0.0f) * 2 >= w.numel());
    });
  }
}

TEST_CASE("export: act-order goes through g_idx; compressed-tensors has no place for it") {
  TempDir out;
  const std::string model =
      source().compressed("act", {"--method", "gptq", "--bits", "4", "--group-size", "32", "--act-order", "--sym",
                                  "--calibration", tiny().text, "--samples", "4", "--seq-len", "32"});
  const Json json = exported(model, "gptq", (out / "gptq").string());
  check_same_linears(model, (out / "gptq").string());
  CHECK(read_json(out / "gptq" / "config.json")["quantization_config"]["desc_act"] == true);
  check_refused({"export", model, "--to", "compressed-tensors", "--out", (out / "ct").string()}, 2, "act-order");
}

TEST_CASE("export: linears that stayed floats are named for the reader") {
  TempDir out;
  const std::string model = rtn("some", {"--bits", "4", "--group-size", "32", "--sym", "--skip", "down_proj"});
  exported(model, "gptq", (out / "gptq").string());
  exported(model, "compressed-tensors", (out / "ct").string());
  check_same_linears(model, (out / "gptq").string());
  check_same_linears(model, (out / "ct").string());
  const Json dynamic = read_json(out / "gptq" / "config.json")["quantization_config"]["dynamic"];
  CHECK(dynamic.contains("-:^model\\.layers\\.0\\.mlp\\.down_proj$"));
  CHECK(read_json(out / "ct" / "config.json")["quantization_config"]["ignore"] ==
        Json({"lm_head", "model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"}));
}

TEST_CASE("export: dense keeps the source's type where that is exact, and rounds on demand") {
  TempDir out;
  const std::string plain = (out / "plain").string(), half = (out / "half").string();
  exported(source().model, "dense", plain);
  CHECK(source_dtype(*load_model(plain)) == DType::bf16);
  CHECK(read_json(plain + "/config.json")["torch_dtype"] == "bfloat16");
  check_same_linears(source().model, plain);
  const Json json = exported(four_bits(), "dense", half, {"--dtype", "bf16"});
  CHECK(json["exact"] == false);
  CHECK(json["error"].get<double>() > 1e-5);
  CHECK(json["error"].get<double>() < 1.0 / 256);
  CHECK(json["bits_per_weight"] == 16);
}

TEST_CASE("export: many files, each of them small") {
  TempDir out;
  const auto model = load_model(four_bits());
  NullLog log;
  std::filesystem::create_directory(out / "gptq");
  const auto report = export_hf(*model, source().model, out / "gptq",
                                {.format = ExportFormat::gptq, .dtype = {}, .shard_bytes = 20000}, log);
  CHECK(report.error == 0);
  CHECK(std::filesystem::exists(out / "gptq" / "model.safetensors.index.json"));
  CHECK(read_json(out / "gptq" / "model.safetensors.index.json")["metadata"]["total_size"] == report.bytes);
  check_same_linears(four_bits(), (out / "gptq").string());
}

TEST_CASE("export: what cannot be is refused before work, with what to do") {
  TempDir out;
  const std::string dir = (out / "x").string(), model = four_bits();
  check_refused({"export", source().model, "--to", "gptq", "--out", dir}, 2, "sinter compress MODEL --method gptq");
  check_refused({"export", source().model, "--to", "compressed-tensors", "--out", dir}, 2, "--bits 4");
  check_refused({"export", model, "--to", "gptq", "--out", dir, "--dtype", "f16"}, 2, "--dtype");
  check_refused({"export", model, "--to", "dense", "--out", dir, "--dtype", "q4_0"}, 2, "gguf alone");
  check_refused({"export", model, "--to", "onnx", "--out", dir}, 2, "--to");
  check_refused({"export", dir, "--to", "dense", "--out", dir}, 3, "model directory");
  std::filesystem::create_directory(dir);
  write(dir + "/file", "x");
  check_refused({"export", model, "--to", "dense", "--out", dir}, 2, "not empty");
  const std::string odd = (out / "odd").string();
  CHECK(sinter_run({"compress", tiny().model, "--out", odd, "--method", "rtn", "--bits", "4", "--sym"}).code == 0);
  check_refused({"export", odd, "--to", "gptq", "--out", (out / "y").string()}, 2, "multiples of 32");
}

TEST_CASE("info --target says what a program will accept, why not, and the export to use") {
  const auto target = [](const std::string& model, const std::string& name) {
    const Ran r = sinter_run({"info", model, "--target", name, "--json", "-"});
    CAPTURE(r.err);
    REQUIRE(r.code == 0);
    return r.json()["target"];
  };
  const auto verdict = [](const Json& t, const std::string& format) {
    for (const Json& c : t["choices"])
      if (c["format"] == format) return c["verdict"].get<std::string>();
    return std::string("absent");
  };
  const std::string four = four_bits(), three = three_bits();
  Json t = target(four, "vllm");
  CHECK(verdict(t, "as it is") == "no");
  CHECK(verdict(t, "gptq") == "limited");  // sides of 64 and 96 miss the Marlin kernels
  CHECK(verdict(t, "dense") == "yes");
  CHECK(t["accepted"] == true);
  CHECK(t["command"] == "sinter export " + four + " --to dense --out OUT");
  t = target(three, "vllm");
  CHECK(verdict(t, "gptq") == "no");
  CHECK(verdict(t, "compressed-tensors") == "limited");
  t = target(four, "transformers");
  CHECK(t["use"] == "compressed-tensors");
  CHECK(verdict(t, "gptq") == "yes");
  t = target(rtn("asym", {"--bits", "4", "--group-size", "32"}), "transformers");
  CHECK(verdict(t, "compressed-tensors") == "no");
  CHECK(verdict(t, "gptq") == "limited");
  t = target(rtn("some", {"--bits", "4", "--group-size", "32", "--sym", "--skip", "down_proj"}), "transformers");
  CHECK(verdict(t, "gptq") == "no");
  CHECK(verdict(t, "compressed-tensors") == "yes");
  t = target(source().model, "transformers");
  CHECK(t["use"] == "as it is");
  CHECK(verdict(t, "gptq") == "no");
  t = target(four, "llama.cpp");
  CHECK(verdict(t, "as it is") == "no");
  CHECK(t["use"] == "gguf");
  t = target(golden("models/opt_pre_norm").string(), "llama.cpp");
  CHECK(t["accepted"] == false);
  CHECK(t["command"] == "");
  check_refused({"info", four, "--target", "onnx"}, 2, "--target");
}
