// The sub-commands on a directory with pytorch_model.bin do what they do on the same model as safetensors.
#include "test/apps/ran.h"
#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

constexpr const char* kTokenizer =
    R"({"version":"1.0","added_tokens":[],"normalizer":null,)"
    R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)"
    R"("post_processor":null,"decoder":{"type":"ByteLevel"},)"
    R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"Ġ":2,"ab":3,"Ġa":4,"Ċ":5},"merges":["a b","Ġ a"]}})";

struct Models {
  TempDir dir;
  std::string text = (dir / "text.txt").string();
  Models() {
    for (const char* name : {"llama_safetensors", "llama_one", "llama_shards"}) {
      fs::copy(golden("bin") / name, dir / name);
      write(dir / name / "tokenizer.json", kTokenizer);
    }
    std::string words;
    for (int i = 0; i < 300; ++i) words += i % 3 ? "ab a" : "b\n";
    write(text, words);
  }
  std::string model(const char* name) const { return (dir / name).string(); }
};

}  // namespace

TEST_CASE("info, perplexity and compress on .bin, whole and in shards") {
  const Models m;
  const auto perplexity = [&](const char* name) {
    return run_json({"perplexity", m.model(name), "--text", m.text, "--seq-len", "16"})["ppl"];
  };
  const auto compressed = [&](const char* name) {
    const std::string out = m.model(name) + ".out";
    run_json({"compress", m.model(name), "--out", out, "--method", "wanda", "--sparsity", "0.5", "--calibration",
              m.text, "--samples", "4", "--seq-len", "16"});
    CHECK_FALSE(fs::exists(out + "/pytorch_model.bin"));
    return read_text(out + "/model.safetensors");
  };
  const Json expected = perplexity("llama_safetensors");
  const std::string weights = compressed("llama_safetensors");
  CHECK(expected > 1.0);
  for (const char* name : {"llama_one", "llama_shards"}) {
    CAPTURE(name);
    const Json facts = run_json({"info", m.model(name), "--verify"});
    CHECK(facts["verified_tensors"] == 12);
    CHECK(facts["totals"]["bits_per_weight"] == 16.0);
    CHECK(perplexity(name) == expected);
    CHECK(compressed(name) == weights);
  }
}

TEST_CASE("a pickle that would run something is refused in one line") {
  const Models m;
  fs::copy_file(golden("bin/module.bin"), m.dir / "llama_one/pytorch_model.bin", fs::copy_options::overwrite_existing);
  check_refused({"info", m.model("llama_one")}, 3, "names torch.nn.modules.linear.Linear");
}
