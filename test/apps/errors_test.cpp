// Every bad input ends with its exit code and one clear line.
#include <cmath>

#include "core/tensor_file.h"
#include "test/apps/ran.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

// A copy of the tiny model to break.
struct Broken {
  TempDir dir;
  std::string model = (dir / "model").string();
  Broken() { fs::copy(tiny().model, model); }
  std::string weights() const { return model + "/model.safetensors"; }

  void config(const std::function<void(Json&)>& change) const {
    Json json = read_json(model + "/config.json");
    change(json);
    write(model + "/config.json", json_text(json));
  }
  void tensors(const std::function<void(NamedTensors&)>& change) const {
    NamedTensors all;
    {
      const TensorFile file(weights());
      for (const auto& name : file.names()) all.emplace_back(name, file.tensor(name).clone());
    }
    change(all);
    write_tensors(weights(), all);
  }
};

Tensor& find(NamedTensors& all, const std::string& name) {
  return std::ranges::find(all, name, &NamedTensors::value_type::first)->second;
}

}  // namespace

TEST_CASE("a model that is not there or is incomplete is exit code 3") {
  const Broken b;
  for (const std::vector<std::string>& rest : {std::vector<std::string>{"info"},
                                               {"tokenize", "--text", "a"},
                                               {"logits", "--ids", "1", "--out", "/tmp/never.safetensors"},
                                               {"perplexity", "--text", tiny().text},
                                               {"generate", "--prompt", "a"}}) {
    std::vector<std::string> args = rest;
    args.insert(args.begin() + 1, "/nonexistent/model");
    check_refused(args, 3, "/nonexistent/model");
  }
  fs::remove(b.model + "/tokenizer.model");
  check_refused({"generate", b.model, "--prompt", "a"}, 3, b.model);
  fs::remove(b.weights());
  check_refused({"info", b.model}, 3, "model.safetensors");
  fs::remove(b.model + "/config.json");
  check_refused({"info", b.model}, 3, "config.json");
}

TEST_CASE("a config that lies is exit code 3 and names the field") {
  const Broken b;
  b.config([](Json& c) { c["hidden_size"] = "wide"; });
  check_refused({"info", b.model}, 3, "config.json: field hidden_size");
  b.config([](Json& c) { c["hidden_size"] = 40; });
  check_refused({"info", b.model}, 3, "config.json needs");
  b.config([](Json& c) { c.erase("model_type"); });
  check_refused({"info", b.model}, 3, "field model_type");
  b.config([](Json& c) { c["model_type"] = "mamba"; });
  check_refused({"info", b.model}, 3, "llama or opt");
  write(b.model + "/config.json", "{\"model_type\": ");
  check_refused({"info", b.model}, 3, "config.json");
}

TEST_CASE("weights that are truncated, missing, misshapen or not finite are named") {
  SUBCASE("truncated") {
    const Broken b;
    fs::resize_file(b.weights(), fs::file_size(b.weights()) - 100);
    check_refused({"info", b.model}, 3, "model.safetensors");
    fs::resize_file(b.weights(), 4);
    check_refused({"perplexity", b.model, "--text", tiny().text}, 3, "model.safetensors");
  }
  SUBCASE("missing tensor") {
    const Broken b;
    b.tensors([](NamedTensors& all) {
      std::erase_if(all, [](const auto& t) { return t.first == "model.layers.1.mlp.up_proj.weight"; });
    });
    check_refused({"info", b.model}, 3, "model.layers.1.mlp.up_proj");
  }
  SUBCASE("wrong shape") {
    const Broken b;
    b.tensors([](NamedTensors& all) {
      find(all, "model.layers.0.self_attn.k_proj.weight") = Tensor::zeros({16, 31}, DType::f32);
    });
    check_refused({"info", b.model}, 3,
                  "model.layers.0.self_attn.k_proj.weight has shape [16, 31], config.json needs [16, 32]");
  }
  SUBCASE("wrong type") {
    const Broken b;
    b.tensors([](NamedTensors& all) { find(all, "model.norm.weight") = Tensor::zeros({32}, DType::i32); });
    check_refused({"info", b.model}, 3, "model.norm.weight");
  }
  SUBCASE("not finite") {
    const Broken b;
    b.tensors(
        [](NamedTensors& all) { find(all, "model.layers.0.mlp.down_proj.weight").mutable_data<float>()[5] = NAN; });
    const Ran r = sinter_run({"info", b.model, "--verify"});
    CHECK(r.code == 3);
    CHECK(r.err.find("model.layers.0.mlp.down_proj.weight holds a value that is not finite at place 5") !=
          std::string::npos);
    check_refused({"perplexity", b.model, "--text", tiny().text}, 1, "not a number");
    CHECK(sinter_run({"generate", b.model, "--prompt", "a"}).code == 1);
  }
}

TEST_CASE("texts that cannot be read are exit code 3, with the line of a broken record") {
  const TempDir dir;
  const std::string m = tiny().model, bad = (dir / "bad.jsonl").string(), empty = (dir / "empty.txt").string();
  write(empty, "");
  check_refused({"perplexity", m, "--text", empty}, 3, "empty");
  check_refused({"perplexity", m, "--text", (dir / "none.txt").string()}, 3, "none.txt");
  check_refused({"perplexity", m, "--text", dir.path().string()}, 3, "directory");
  write(bad, "{\"text\": \"a\"}\n{\"text\": \n");
  check_refused({"perplexity", m, "--text", bad}, 3, "line 2");
  write(bad, "{\"text\": \"a\"}\n\n{\"body\": \"b\"}\n");
  check_refused({"prompt", m, "--data", bad, "--tokens", "2", "--out", (dir / "p.safetensors").string()}, 3, "line 3");
  write(dir / "ids.json", "[1, 2, \"x\"]");
  check_refused({"logits", m, "--ids-file", (dir / "ids.json").string(), "--out", (dir / "l.safetensors").string()}, 3,
                "entry 2");
  CHECK_FALSE(fs::exists(dir / "p.safetensors"));
  CHECK_FALSE(fs::exists(dir / "l.safetensors"));
}

TEST_CASE("ids, lengths and numbers that cannot be are exit code 2") {
  const TempDir dir;
  const std::string m = tiny().model, t = tiny().text, out = (dir / "l.safetensors").string();
  check_refused({"logits", m, "--ids", "1,400", "--out", out}, 2,
                "id 400 at place 1 is outside the model's vocabulary of 400");
  check_refused({"logits", m, "--ids", "1,a", "--out", out}, 2, "--ids");
  check_refused({"logits", m, "--ids", "", "--out", out}, 2, "--ids");
  check_refused({"logits", m, "--ids", "1", "--ids-file", "x", "--out", out}, 2, "exactly one of");
  check_refused({"logits", m, "--ids", "1"}, 2, "--out is missing");
  check_refused({"logits", m, "--ids", "1", "--out", dir.path().string()}, 2, "is a directory");
  check_refused({"tokenize", m}, 2, "exactly one of");
  check_refused({"tokenize", m, "--decode", "99999"}, 2, "--decode");
  check_refused({"perplexity", m}, 2, "--text is missing");
  check_refused({"perplexity", m, "--text", t, "--seq-len", "65"}, 2, "64 positions");
  check_refused({"perplexity", m, "--text", t, "--seq-len", "1"}, 2, "scores nothing");
  check_refused({"perplexity", m, "--text", t, "--max-chunks", "0"}, 2, "--max-chunks");
  check_refused({"perplexity", m, "--text", t, "--join", "\\q"}, 2, "--join");
  check_refused({"generate", m}, 2, "--prompt");
  check_refused({"generate", m, "--prompt", "a", "--temperature", "-1"}, 2, "--temperature");
  check_refused({"generate", m, "--prompt", "a", "--top-p", "0"}, 2, "--top-p");
  check_refused({"generate", m, "--prompt", "a", "--max-new-tokens", "0"}, 2, "--max-new-tokens");
  check_refused({"generate", m, "--prompt", worlds_text(0, 3)}, 2, "positions");
}

TEST_CASE("a soft prompt that does not fit the model is exit code 3") {
  const TempDir dir;
  const std::string m = tiny().model, p = (dir / "p.safetensors").string(), t = tiny().text;
  write_tensors(p, {{"prompt_embeddings", Tensor::zeros({4, 31}, DType::f32)}});
  check_refused({"perplexity", m, "--text", t, "--soft-prompt", p}, 3, "width 32");
  write_tensors(p, {{"something", Tensor::zeros({4, 32}, DType::f32)}});
  check_refused({"generate", m, "--prompt", "a", "--soft-prompt", p}, 3, "prompt_embeddings");
  write_tensors(p, {{"prompt_embeddings", Tensor::zeros({4, 32}, DType::f32)}},
                {{"sinter.tokenizer", "0000000000000000"}});
  check_refused({"logits", m, "--ids", "1", "--soft-prompt", p, "--out", (dir / "l").string()}, 3, "another tokenizer");
  fs::create_directory(dir / "adapter");
  write(dir / "adapter/adapter_config.json", R"({"peft_type": "LORA"})");
  check_refused({"perplexity", m, "--text", t, "--soft-prompt", (dir / "adapter").string()}, 3, "peft_type");
  write_tensors(p, {{"prompt_embeddings", Tensor::zeros({63, 32}, DType::f32)}});
  check_refused({"perplexity", m, "--text", t, "--seq-len", "32", "--soft-prompt", p}, 2, "64 positions");
}

TEST_CASE("training refuses contradictions before it starts") {
  const TempDir dir;
  const std::string m = tiny().model, t = tiny().text, out = (dir / "p.safetensors").string();
  const auto prompt = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"prompt", m, "--data", t, "--out", out});
    return more;
  };
  check_refused(prompt({"--steps", "0"}), 2, "--steps");
  check_refused(prompt({"--tokens", "0"}), 2, "--tokens");
  check_refused(prompt({"--init", "zeros"}), 2, "--init");
  check_refused(prompt({"--lr", "0"}), 2, "--lr");
  check_refused(prompt({"--tokens", "10", "--seq-len", "60"}), 2, "64 positions");
  check_refused(prompt({"--batch", "100000", "--tokens", "4", "--seq-len", "16"}), 2, "a batch needs 100000");
  check_refused({"prompt", m, "--data", t, "--tokens", "4", "--out", m}, 2, "not empty");
  check_refused({"pretrain", "--config", m + "/config.json", "--data", t, "--out", (dir / "x").string()}, 2,
                "--make-tokenizer");
  check_refused({"pretrain", "--config", m + "/config.json", "--make-tokenizer", "400", "--data", t, "--out", m}, 2,
                "not empty");
  check_refused({"pretrain", "--config", (dir / "none.json").string(), "--make-tokenizer", "400", "--data", t, "--out",
                 (dir / "x").string()},
                3, "none.json");
  check_refused({"pretrain", "--config", m + "/config.json", "--make-tokenizer", "100", "--data", t, "--out",
                 (dir / "x").string()},
                2, "pieces");
  check_refused({"worlds", "--out", (dir / "w.txt").string(), "--count", "0"}, 2, "--count");
  CHECK(fs::is_empty(dir.path()));
}
