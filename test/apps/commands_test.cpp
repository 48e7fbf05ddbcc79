// What the sub-commands compute and write, and the shape of their JSON.
#include <cmath>

#include "core/tensor_file.h"
#include "test/apps/ran.h"
#include "test/check.h"
#include "train/data/text.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

std::vector<std::string> keys(const Json& json) {
  std::vector<std::string> names;
  for (const auto& [key, value] : json.items()) names.push_back(key);
  return names;
}

}  // namespace

TEST_CASE("info counts parameters, bits and zeros of every linear") {
  const Json json = run_json({"info", tiny().model, "--verify"});
  CHECK(json["architecture"] == "llama");
  // 400·32 words, per layer q, o 32², k, v 16·32, three of 48·32, two norms; a norm at the end.
  CHECK(json["parameters"] == 400 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32 + 64) + 32);
  CHECK(json["bytes_on_disk"] == fs::file_size(tiny().model + "/model.safetensors"));
  REQUIRE(json["linears"].size() == 14);
  CHECK(keys(json["linears"][0]) ==
        std::vector<std::string>{"name", "shape", "format", "bits_per_weight", "zeros", "bits"});
  CHECK(json["linears"][6]["shape"] == Json({32, 48}));
  CHECK(json["totals"]["bits_per_weight"] == 32.0);
  CHECK(json["totals"]["zeros"] == 0.0);
  CHECK(json["verified_tensors"] == 1 + 2 * 9 + 1);
  for (const char* name : {"opt_pre_norm", "opt_post_norm_proj", "llama_bf16_sharded", "llama_f16", "llama_bias"}) {
    CAPTURE(name);
    CHECK(sinter_run({"info", (golden("models") / name).string(), "--verify"}).code == 0);
  }
}

TEST_CASE("info sees the zeros of a pruned matrix") {
  const TempDir dir;
  fs::copy(tiny().model, dir / "m");
  NamedTensors all;
  {
    const TensorFile file(dir / "m/model.safetensors");
    for (const auto& name : file.names()) all.emplace_back(name, file.tensor(name).clone());
  }
  for (auto& [name, t] : all)
    if (name == "model.layers.0.self_attn.q_proj.weight")
      for (std::size_t i = 0; i < 256; ++i) t.mutable_data<float>()[i] = i % 2 ? 0.0f : -0.0f;
  write_tensors(dir / "m/model.safetensors", all);
  CHECK(run_json({"info", (dir / "m").string()})["linears"][0]["zeros"] == 0.25);
}

TEST_CASE("tokenize and decode are inverse, and --no-special leaves out the first token") {
  const Json with = run_json({"tokenize", tiny().model, "--text", "Question: 3 + 4"});
  const Json without = run_json({"tokenize", tiny().model, "--text", "Question: 3 + 4", "--no-special"});
  CHECK(with["ids"].size() == without["ids"].size() + 1);
  CHECK(with["ids"][0] == 1);
  const Ran shown = sinter_run({"tokenize", tiny().model, "--text", "Question: 3 + 4"});
  CHECK(run_json({"tokenize", tiny().model, "--decode", shown.out.substr(0, shown.out.size() - 1)}) ==
        Json{{"text", "Question: 3 + 4"}});
  CHECK(run_json({"tokenize", tiny().model, "--text", ""})["ids"] == Json({1}));
}

TEST_CASE("logits agree with the golden model, with and without a soft prompt") {
  const TempDir dir;
  const auto model = golden("models/llama_gqa_tied");
  const TensorFile gold(model / "golden.safetensors");
  Json ids = Json::array();
  for (const auto id : gold.tensor("ids").data<std::int32_t>()) ids.push_back(id);
  write(dir / "ids.json", Json{{"ids", ids}}.dump());
  const auto out = (dir / "l.safetensors").string();
  CHECK(run_json({"logits", model.string(), "--ids-file", (dir / "ids.json").string(), "--out", out})["shape"] ==
        Json({24, 97}));
  // Relative to the largest logit; f32 sums in another order.
  const auto close = [&](const char* name) {
    const Tensor want = gold.tensor(name);
    double largest = 0;
    for (const float v : want.data<float>()) largest = std::max(largest, double(std::abs(v)));
    return distance(TensorFile(out).tensor("logits"), want) <= 1e-5 * largest;
  };
  CHECK(close("logits"));
}

TEST_CASE("perplexity reports its protocol, and per token with --token-nll") {
  const TempDir dir;
  const auto nll = (dir / "nll.safetensors").string();
  const Json json = run_json(
      {"perplexity", tiny().model, "--text", tiny().text, "--seq-len", "32", "--max-chunks", "5", "--token-nll", nll});
  CHECK(keys(json) ==
        std::vector<std::string>{"ppl", "nll", "scored_tokens", "chunks", "seq_len", "tokens_per_second"});
  CHECK(json["scored_tokens"] == 5 * 31);
  CHECK(json["chunks"] == 5);
  CHECK(json["seq_len"] == 32);
  CHECK(json["ppl"].get<double>() == doctest::Approx(std::exp(json["nll"].get<double>())).epsilon(1e-12));
  const Tensor each = TensorFile(nll).tensor("token_nll");
  REQUIRE(each.shape() == Shape{5, 31});
  double sum = 0;
  for (const float v : each.data<float>()) sum += double(v);
  CHECK(sum / (5 * 31) == doctest::Approx(json["nll"].get<double>()).epsilon(1e-6));  // f32 on disk
  CHECK(run_json({"perplexity", tiny().model, "--text", tiny().jsonl})["seq_len"] == 64);  // all positions of the model
  CHECK(run_json({"perplexity", tiny().model, "--text", tiny().text, "--lines"})["ppl"] != json["ppl"]);
}

TEST_CASE("generate streams the text that its JSON holds and stops where it should") {
  const std::vector<std::string> args{"generate", tiny().model, "--prompt", "Anna", "--max-new-tokens", "12"};
  const Json json = run_json(args);
  CHECK(keys(json) == std::vector<std::string>{"text", "ids", "prompt_tokens", "prefill_tokens_per_second",
                                               "decode_tokens_per_second", "peak_rss_bytes"});
  CHECK(json["ids"].size() <= 12);
  CHECK(json["peak_rss_bytes"] > 1000000);
  const std::string text = json["text"];
  const Ran shown = sinter_run(args);
  CHECK(shown.out == text + (text.ends_with('\n') ? "" : "\n"));
  auto sampled = args;
  sampled.insert(sampled.end(), {"--temperature", "5", "--seed", "4"});
  CHECK(run_json(sampled)["ids"] == run_json(sampled)["ids"]);
  CHECK(run_json(sampled)["ids"] != json["ids"]);
  const auto letter = std::ranges::find_if(text, [](char c) { return c >= 'a' && c <= 'z'; });
  REQUIRE(letter != text.end());
  auto stopped = args;
  stopped.insert(stopped.end(), {"--stop", "not there", "--stop", std::string(1, *letter)});
  CHECK(run_json(stopped)["text"] == std::string(text.begin(), letter));
}

TEST_CASE("a soft prompt is learned, saved in both forms, measured and used") {
  const TempDir dir;
  const std::string m = tiny().model, file = (dir / "p.safetensors").string(), folder = (dir / "adapter").string();
  const auto learn = [&](const std::string& out, const std::string& threads) {
    return run_json({"prompt",   m,     "--data",    tiny().text, "--validation", tiny().jsonl, "--out",        out,
                     "--tokens", "4",   "--seq-len", "24",        "--steps",      "6",          "--eval-every", "3",
                     "--lr",     "0.1", "--threads", threads});
  };
  const Json json = learn(file, "2");
  CHECK(json["steps"] == 6);
  CHECK(json["ppl"] <= json["ppl_initial"]);
  CHECK(json["ppl_paper"].get<double>() == doctest::Approx(std::exp(json["nll"].get<double>() * 23 / 27)));
  CHECK_FALSE(fs::exists(file + ".state"));
  learn(folder, "1");
  CHECK(fs::exists(folder + "/adapter_config.json"));
  std::vector<Json> ppl;
  for (const auto& p : {file, folder})
    ppl.push_back(run_json({"perplexity", m, "--text", tiny().jsonl, "--seq-len", "24", "--soft-prompt", p}));
  CHECK(ppl[0]["ppl"] == ppl[1]["ppl"]);  // the same bits for one thread and two
  CHECK(ppl[0]["ppl"].get<double>() == doctest::Approx(json["ppl"].get<double>()).epsilon(1e-5));  // f32 sums per pass
  CHECK(ppl[0]["ppl_paper"] < ppl[0]["ppl"]);
  CHECK(sinter_run({"generate", m, "--prompt", "Anna", "--max-new-tokens", "3", "--soft-prompt", file}).code == 0);
}

TEST_CASE("an interrupted training is exit code 130 and goes on with the same bits") {
  const TempDir dir;
  const auto args = [&](const std::string& out) {
    return std::vector<std::string>{"prompt",   tiny().model, "--data",    tiny().text,  "--out",   out,
                                    "--tokens", "3",          "--seq-len", "16",         "--steps", "8",
                                    "--init",   "first",      "--resume",  "--progress", "json"};
  };
  const auto whole = (dir / "whole.safetensors").string(), parts = (dir / "parts.safetensors").string();
  CHECK(sinter_run(args(whole)).code == 0);
  StopAtFirstReport buffer;
  std::ostream err(&buffer);
  std::ostringstream out;
  CHECK(run_program(args(parts), {out, err, false}) == 130);
  set_interrupted(false);
  CHECK(buffer.str().find("sinter: training: interrupted; the state is in " + parts + ".state") != std::string::npos);
  CHECK(fs::exists(parts + ".state"));
  CHECK_FALSE(fs::exists(parts));
  auto other = args(parts);
  other[7] = "4";  // rows
  check_refused(other, 3, "other settings");
  CHECK(sinter_run(args(parts)).code == 0);
  CHECK(distance(TensorFile(whole).tensor("prompt_embeddings"), TensorFile(parts).tensor("prompt_embeddings")) == 0);
  CHECK_FALSE(fs::exists(parts + ".state"));
}

TEST_CASE("pretrain writes a complete model of either family from worlds") {
  const TempDir dir;
  const auto text = (dir / "w.txt").string();
  CHECK(run_json({"worlds", "--out", text, "--count", "60", "--seed", "5"})["count"] == 60);
  CHECK(read_text(text).starts_with(make_world(Rng{5}, 0) + make_world(Rng{5}, 1)));
  const auto records = (dir / "w.jsonl").string();
  run_json({"worlds", "--out", records, "--count", "3", "--first", "7", "--held-out"});
  CHECK(read_documents(records) == make_worlds(0, kHeldOutWorlds + 7, 3));
  write(dir / "llama.json", kTinyConfig);
  write(dir / "opt.json",
        R"({"model_type": "opt", "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 64})");
  for (const std::string family : {"llama", "opt"}) {
    CAPTURE(family);
    const std::string out = (dir / family).string();
    const Json json = run_json({"pretrain",
                                "--config",
                                (dir / (family + ".json")).string(),
                                "--make-tokenizer",
                                "500",
                                "--data",
                                text,
                                "--validation",
                                text,
                                "--out",
                                out,
                                "--steps",
                                "12",
                                "--batch",
                                "2",
                                "--seq-len",
                                "32",
                                "--lr",
                                "0.01",
                                "--eval-every",
                                "6",
                                "--save-dtype",
                                "bf16",
                                "--quiet"});
    CHECK(json["steps"] == 12);
    CHECK(json["nll"] < std::log(500.0) - 0.2);  // better than guessing: it has learned something
    const Json config = read_json(out + "/config.json");
    CHECK(config["vocab_size"] == 500);
    CHECK(config["architectures"][0] == (family == "opt" ? "OPTForCausalLM" : "LlamaForCausalLM"));
    CHECK(config["dtype"] == "bfloat16");
    CHECK(config.contains("rope_theta") == (family == "llama"));
    CHECK(config.contains("rope_parameters") == (family == "llama"));
    CHECK(run_json({"info", out, "--verify"})["linears"][0]["format"] == "bf16");
    CHECK(sinter_run({"generate", out, "--prompt", "The", "--max-new-tokens", "4"}).code == 0);
    CHECK_FALSE(fs::exists(out + ".partial"));
    const std::string second = out + "2";  // another model over the same tokenizer
    CHECK(sinter_run({"pretrain", "--config", out + "/config.json", "--tokenizer", out, "--data", text, "--out", second,
                      "--steps", "1", "--batch", "1", "--seq-len", "16"})
              .code == 0);
    CHECK(read_text(second + "/tokenizer.model") == read_text(out + "/tokenizer.model"));
  }
}
