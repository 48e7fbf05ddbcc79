// Soft prompts that other programs wrote as .bin.
#include "core/file.h"
#include "models/checkpoint.h"
#include "test/check.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"
#include "train/data/make_tokenizer.h"
#include "train/prompt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

struct Model {
  TempDir dir;
  std::unique_ptr<CausalLM> model = load_model(golden("bin/llama_one"));
  std::shared_ptr<const Tokenizer> tokenizer;
  Model() {
    make_tokenizer("some words, some more words", 270, dir.path());
    tokenizer = Tokenizer::load(dir.path());
  }
  Tensor load(const fs::path& prompt) const { return load_prompt(prompt, *model, *tokenizer); }
};

}  // namespace

TEST_CASE("a prompt that PEFT wrote as .bin, and one that is the module of the paper's authors") {
  const Model m;
  TempDir dir;
  fs::copy(golden("bin/soft_prompt.model"), dir.path());
  for (const fs::path& path :
       {golden("bin/adapter"), golden("bin/adapter/adapter_model.bin"), golden("bin/soft_prompt.model"), dir.path()}) {
    CAPTURE(path);
    const Tensor prompt = m.load(path);
    REQUIRE(prompt.shape() == Shape{3, 8});
    for (std::int64_t i = 0; i < 24; ++i) CHECK(value_at(prompt, i) == double(i * 37 % 64 - 32) / 16);
  }
}

TEST_CASE("prompts as .bin that do not fit") {
  const Model m;
  TempDir dir;
  CHECK_THROWS_TEXT(input, "holds no adapter_model.safetensors", m.load(dir.path()));
  CHECK_THROWS_TEXT(input, "tensor prompt_embeddings is missing", m.load(golden("bin/nested.bin")));
  CHECK_THROWS_TEXT(input, "tensor weight has shape [3, 8]", [&] {
    fs::copy_file(golden("bin/soft_prompt.model"), dir / "p.model");
    return load_prompt(dir / "p.model", *load_model(golden("models/llama_gqa_tied")), *m.tokenizer);
  }());
}

TEST_CASE("a PEFT directory with .bin is held to its adapter_config.json") {
  const Model m;
  TempDir dir;
  fs::copy(golden("bin/adapter"), dir.path());
  write_text_atomic(dir / "adapter_config.json", R"({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4})");
  CHECK_THROWS_TEXT(input, "num_virtual_tokens 4", m.load(dir.path()));
  write_text_atomic(dir / "adapter_config.json", R"({"peft_type": "LORA"})");
  CHECK_THROWS_TEXT(input, "PROMPT_TUNING", m.load(dir.path()));
}
