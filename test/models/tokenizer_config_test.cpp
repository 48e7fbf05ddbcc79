#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "models/tokenizer.h"
#include "test/shared_data.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

// A copy of a fixture, to put configuration files beside it.
struct Copy {
  fs::path path;
  explicit Copy(const std::string& fixture) {
    std::string name = (fs::temp_directory_path() / "sinter_tokenizer_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
    fs::copy(test::golden("tokenizers") / fixture, path, fs::copy_options::recursive);
  }
  ~Copy() { fs::remove_all(path); }
  std::shared_ptr<const Tokenizer> with(const char* file, std::string_view text) const {
    write_text_atomic(path / file, text);
    return Tokenizer::load(path);
  }
};

Ids joined(std::initializer_list<Ids> parts) {
  Ids out;
  for (const Ids& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

TEST_CASE("add_bos_token and add_eos_token hold for every format") {
  for (const char* name : {"spm_llama", "json_llama", "json_llama3", "opt"}) {
    CAPTURE(name);
    const Copy copy(name);
    const Ids plain = Tokenizer::load(copy.path)->encode("Anna sees", false);
    const auto both = copy.with("tokenizer_config.json", R"({"add_bos_token":true,"add_eos_token":true})");
    CHECK(both->encode("Anna sees") == joined({{*both->bos()}, plain, {*both->eos()}}));
    const auto none = copy.with("tokenizer_config.json", R"({"add_bos_token":false,"add_eos_token":false})");
    CHECK(none->encode("Anna sees") == plain);
  }
}

TEST_CASE("A SentencePiece model and the tokenizer.json made from it give the same ids") {
  const auto model = Tokenizer::load(test::golden("tokenizers") / "spm_llama");
  const auto json = Tokenizer::load(test::golden("tokenizers") / "json_llama");
  for (const char* text : {"Anna walks", "  two", "a\nb", "", "\u00e9\U0001F642", "x</s> y"}) {
    CHECK(model->encode(text) == json->encode(text));
  }
  CHECK(json->bos() == model->bos());
  CHECK(json->eos() == model->eos());
}

TEST_CASE("legacy gives every part after a special token a space, otherwise only the first") {
  const Copy copy("spm_llama");
  const auto legacy = copy.with("tokenizer_config.json", R"({"legacy":true})");
  const auto modern = copy.with("tokenizer_config.json", R"({"legacy":false})");
  const Ids first = legacy->encode("Anna", false);
  CHECK(first == modern->encode("Anna", false));
  CHECK(legacy->encode("Anna</s>Anna", false) == joined({first, {2}, first}));
  const Ids bare = modern->encode("</s>Anna", false);
  CHECK(modern->encode("Anna</s>Anna", false) == joined({first, bare}));
  CHECK(bare.at(0) == 2);
  CHECK(bare != joined({{2}, first}));
  CHECK(modern->decode(Ids(bare.begin() + 1, bare.end())) == "Anna");
}

TEST_CASE("Added tokens come from added_tokens.json and from added_tokens_decoder") {
  const Copy copy("spm_llama");
  const auto size = Tokenizer::load(copy.path)->size();
  const std::string id = std::to_string(size), far = std::to_string(size + 1);
  copy.with("added_tokens.json", "{\"[PAD]\": " + id + "}");
  const auto tokenizer =
      copy.with("tokenizer_config.json", R"({"pad_token":{"content":"[PAD]"},"added_tokens_decoder":{")" + far +
                                             R"(":{"content":"<turn>","rstrip":true}}})");
  CHECK(tokenizer->size() == size + 2);
  CHECK(tokenizer->pad() == size);
  CHECK(tokenizer->piece(static_cast<std::int32_t>(size)) == "[PAD]");
  const Ids ids = tokenizer->encode("a[PAD]b<turn>  c", false);
  const auto count = [&](std::int64_t wanted) { return std::count(ids.begin(), ids.end(), wanted); };
  CHECK(count(size) == 1);
  CHECK(count(size + 1) == 1);
  CHECK(tokenizer->decode(ids) == "a b<turn> c");
  CHECK(tokenizer->decode(ids, false) == "a[PAD] b<turn> c");
}

TEST_CASE("Names of special tokens may be empty, and special_tokens_map.json fills in what is missing") {
  const Copy copy("spm_llama");
  const auto empty = copy.with("tokenizer_config.json", R"({"bos_token":"","eos_token":""})");
  CHECK(empty->bos() == 1);
  CHECK(empty->eos() == 2);
  const auto mapped = copy.with("special_tokens_map.json", R"({"eos_token":{"content":"</s>"},"pad_token":"<unk>"})");
  CHECK(mapped->pad() == 0);
  CHECK(mapped->eos() == 2);
}

TEST_CASE("Bad configuration files are refused with file and field") {
  const Copy copy("spm_llama");
  const auto complaint = [&](const char* file, std::string_view text) -> std::string {
    const std::string before = fs::exists(copy.path / file) ? read_text(copy.path / file) : "{}";
    std::string message;
    try {
      copy.with(file, text);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::input);
      message = error.what();
    }
    write_text_atomic(copy.path / file, before);
    return message;
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(has(complaint("tokenizer_config.json", "{"), "tokenizer_config.json"));
  CHECK(has(complaint("tokenizer_config.json", R"({"add_bos_token":3})"), "field add_bos_token"));
  CHECK(has(complaint("tokenizer_config.json", R"({"bos_token":3})"), "field bos_token"));
  CHECK(has(complaint("tokenizer_config.json", R"({"added_tokens_decoder":{"x":{"content":"<y>"}}})"), "not an id"));
  CHECK(has(complaint("tokenizer_config.json", R"({"added_tokens_decoder":{"9999999":{"content":"<y>"}}})"),
            "id 9999999"));
  CHECK(has(complaint("tokenizer_config.json", R"({"additional_special_tokens":[1]})"), "additional_special_tokens"));
  CHECK(has(complaint("added_tokens.json", R"({"<y>":-3})"), "id -1 of token '<y>'"));
  CHECK(has(complaint("added_tokens.json", R"({"<y>":5})"), "both have id 5"));
  CHECK(has(complaint("added_tokens.json", "[]"), "added_tokens.json"));
}

}  // namespace
}  // namespace sinter
