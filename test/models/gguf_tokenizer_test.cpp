#include <doctest/doctest.h>

#include "models/interchange/gguf_vocabulary.h"
#include "test/models/gguf_fixture.h"

using namespace sinter;
using namespace sinter::test;

namespace {

using Ids = std::vector<std::int32_t>;

// The golden texts with the tokenizer of a GGUF file, and with that of a directory made from it.
void check_cases(const std::string& name, bool decode = true) {
  CAPTURE(name);
  TempDir dir, again;
  write_random_model(dir.path(), name);
  write_gguf(*load_model(dir.path()), dir.path(), dir / "m.gguf");
  copy_model_files(dir / "m.gguf", again.path(), Json::object());
  const Json cases = read_json(golden("tokenizers/" + name) / "cases.json");
  for (const auto& path : {dir / "m.gguf", again.path()}) {
    const auto tokenizer = Tokenizer::load(path);
    int wrong = 0;
    for (const Json& c : cases["encode"]) {
      wrong += tokenizer->encode(c["text"].get<std::string>(), false) != c["ids"].get<Ids>();
      wrong += tokenizer->encode(c["text"].get<std::string>()) != c["with_special"].get<Ids>();
    }
    for (const Json& c : cases["decode"])
      wrong += decode && tokenizer->decode(c["ids"].get<Ids>()) != c["text"].get<std::string>();
    CHECK(wrong == 0);
  }
}

}  // namespace

TEST_CASE("a tokenizer goes through GGUF without a change") {
  check_cases("spm_llama");
  check_cases("json_llama3");
  check_cases("json_llama", false);  // merges become scores; the two kinds decode bytes that are no UTF-8 differently
}

TEST_CASE("SentencePiece models of trained checkpoints go through GGUF without a change") {
  for (const std::string name : {"stories260K", "babyllama361"}) {
    SINTER_SHARED_OR_SKIP(from, "models/" + name);
    TempDir dir;
    write_gguf(*load_model(from), from, dir / "m.gguf", {GgufType::q8_0, {}});
    const auto a = Tokenizer::load(from), b = Tokenizer::load(dir / "m.gguf");
    for (const std::string text :
         {"Once upon a time", "  two  spaces", "caf\xc3\xa9 \xf0\x9f\x99\x82", "<s>a</s>b", ""})
      CHECK(a->encode(text) == b->encode(text));
    CHECK(a->bos() == b->bos());
    CHECK(a->eos() == b->eos());
  }
}

TEST_CASE("tokenizers that llama.cpp would read differently are refused with the reason") {
  const auto refused = [](const std::string& name, const char* why) {
    CAPTURE(name);
    TempDir dir;
    write_random_model(dir.path(), name);
    const auto model = load_model(dir.path());
    CHECK_THROWS_TEXT(unsupported, why, check_gguf(model->config(), dir.path()));
  };
  refused("json_gpt2", "has a normalizer");
  refused("json_steps", "no name for");
  refused("spm_plain", "byte pieces");
  refused("json_metaspace_split", "treats spaces");
}

TEST_CASE("rows of the embedding beyond the vocabulary get names, and too few rows are refused") {
  TempDir dir;
  write_letters(dir.path());
  const GgufVocabulary v = gguf_vocabulary(dir.path(), 30);
  CHECK(v.model == "gpt2");
  CHECK(v.pre == "gpt-2");
  REQUIRE(v.tokens.size() == 30);
  CHECK(v.tokens[26] == "th");
  CHECK(v.tokens[29] == "[PAD29]");
  CHECK(v.types[29] == PieceType::unused);
  CHECK(v.types[27] == PieceType::control);
  CHECK(v.merges == std::vector<std::string>{"t h"});
  CHECK_THROWS_TEXT(unsupported, "28 tokens, the embedding 20 rows", gguf_vocabulary(dir.path(), 20));
}

TEST_CASE("an unknown pre-tokenizer in a file is refused by name, with advice") {
  TempDir dir;
  copy_golden("llama_gqa_tied", dir.path());
  write_gguf(*load_model(dir.path()), dir.path(), dir / "m.gguf");
  std::string bytes = read_text(dir / "m.gguf");
  bytes.replace(bytes.find("gpt-2"), 5, "other");
  write_text_atomic(dir / "m.gguf", bytes);
  CHECK_THROWS_TEXT(input, "tokenizer.ggml.pre is \"other\", expected one of gpt-2", Tokenizer::load(dir / "m.gguf"));
  CHECK_THROWS_TEXT(input, "use the model's Hugging Face directory", Tokenizer::load(dir / "m.gguf"));
}
