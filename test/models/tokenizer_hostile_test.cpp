#include <doctest/doctest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "models/protobuf.h"
#include "models/tokenizer.h"
#include "models/unicode.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

struct Folder : test::TempDir {
  // Neither synced nor written over an old file (which some file systems sync): there are thousands of these.
  void write(const char* name, std::string_view text) const {
    fs::remove(path() / name);
    std::ofstream(path() / name, std::ios::binary) << text;
  }
  void copy(const std::string& fixture, const char* name) const {
    fs::copy_file(test::golden("tokenizers") / fixture / name, path() / name, fs::copy_options::overwrite_existing);
  }
};

// The message of the Error(input) that loading gives, "" when it loads.
std::string complaint(const Folder& folder) {
  try {
    Tokenizer::load(folder.path());
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::input);
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

struct ProtoPiece {
  std::string text;
  float score = 0;
  int type = 1;
};

std::string proto_model(const std::vector<ProtoPiece>& pieces, int model_type = 2, bool byte_fallback = false) {
  ProtoWriter out;
  for (const ProtoPiece& piece : pieces) {
    ProtoWriter one;
    one.bytes(1, piece.text);
    one.real(2, piece.score);
    one.integer(3, piece.type);
    out.bytes(1, one.message());
  }
  ProtoWriter trainer;
  trainer.integer(3, model_type);
  trainer.integer(35, byte_fallback);
  out.bytes(2, trainer.message());
  ProtoWriter normalizer;
  normalizer.integer(4, 0);
  out.bytes(3, normalizer.message());
  return out.message();
}

const std::vector<ProtoPiece> kSmall = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {"a", 0, 1}};

TEST_CASE("Every prefix of a SentencePiece model gives an error or a tokenizer") {
  const Folder folder;
  const std::string whole = read_text(test::golden("tokenizers") / "spm_plain" / "tokenizer.model");
  int loaded = 0;
  for (std::size_t size = 1; size < whole.size(); ++size) {
    folder.write("tokenizer.model", std::string_view(whole).substr(0, size));
    loaded += complaint(folder).empty();
  }
  // The trainer's and normaliser's specifications come last; only within the latter are there prefixes that load.
  CHECK(loaded <= 8);
  folder.write("tokenizer.model", whole);
  CHECK(complaint(folder) == "");
}

TEST_CASE("Mutated tokenizer files give an error or a tokenizer that works") {
  const Folder folder;
  std::uint32_t state = 5;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
  const auto mutate = [&](const std::string& fixture, const char* file) {
    const std::string whole = read_text(test::golden("tokenizers") / fixture / file);
    int loaded = 0;
    for (int round = 0; round < 1500; ++round) {
      std::string bytes = whole;
      for (std::uint32_t n = 1 + next() % 3; n > 0; --n) bytes[next() % bytes.size()] = static_cast<char>(next() % 128);
      folder.write(file, bytes);
      try {
        const auto tokenizer = Tokenizer::load(folder.path());
        ++loaded;
        const Ids ids = tokenizer->encode("Anna walks to the caf\u00e9 again \U0001F642");
        CHECK(unicode::is_valid(tokenizer->decode(ids)));
      } catch (const Error& error) { CHECK(error.code() == ErrorCode::input); }
    }
    fs::remove(folder / file);
    return loaded;
  };
  // Both outcomes must occur; nearly every byte of a tokenizer.json matters, so few mutants load.
  CHECK(mutate("spm_unused", "tokenizer.model") > 100);
  CHECK(mutate("json_llama", "tokenizer.json") > 20);
  CHECK(mutate("json_llama3", "tokenizer.json") > 20);
}

TEST_CASE("A SentencePiece model that cannot be right is refused with file and field") {
  const Folder folder;
  const auto with = [&](const std::vector<ProtoPiece>& more, int model_type = 2, bool byte_fallback = false) {
    std::vector<ProtoPiece> pieces = kSmall;
    pieces.insert(pieces.end(), more.begin(), more.end());
    folder.write("tokenizer.model", proto_model(pieces, model_type, byte_fallback));
    return complaint(folder);
  };
  CHECK(with({}) == "");
  CHECK(contains(with({}, 1), "tokenizer.model: trainer_spec.model_type is 1"));
  CHECK(contains(with({}, 2, true), "byte_fallback without the piece <0x00>"));
  CHECK(contains(with({{"", 0, 1}}), "piece 4: is 0 bytes long"));
  CHECK(contains(with({{"\xFF", 0, 1}}), "piece 4: is not UTF-8"));
  CHECK(contains(with({{"a", 0, 1}}), "'a' occurs twice"));
  CHECK(contains(with({{"b", 0, 9}}), "piece 4: type 9"));
  CHECK(contains(with({{"b", std::numeric_limits<float>::quiet_NaN(), 1}}), "score is not finite"));
  CHECK(contains(with({{"<0xZZ>", 0, 6}}), "has type byte"));
  CHECK(contains(with({{"<unk2>", 0, 2}}), "second unknown piece"));
  CHECK(contains(with({{std::string(5000, 'a'), 0, 1}}), "5000 bytes long"));
  folder.write("tokenizer.model", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
  CHECK(contains(complaint(folder), "more than ten bytes"));
  folder.write("tokenizer.model", "\x0A\x7F");
  CHECK(contains(complaint(folder), "cut short"));
}

struct Edit {
  const char* pointer;
  const char* value;
  const char* message;
};

TEST_CASE("What a tokenizer.json asks for and is not known is refused with file and field") {
  const Json good = read_json(test::golden("tokenizers") / "json_llama" / "tokenizer.json");
  const Edit edits[] = {
      {"/version", R"("2.0")", "field version"},
      {"/model/type", R"("Unigram")", "field model.type"},
      {"/model/dropout", "0.5", "field model.dropout"},
      {"/model/vocab", "[]", "model.vocab: expected an object"},
      {"/model/vocab/a", R"("x")", "model.vocab: token 'a'"},
      {"/model/vocab/a", "-1", "id -1 of token 'a' is not in"},
      {"/model/vocab/a", "4000000000", "id 4000000000 of token 'a' is not in"},
      {"/model/vocab/a", "5", "both have id 5"},
      {"/model/merges", "{}", "model.merges: expected a list"},
      {"/model/merges/3", R"("onlyone")", "model.merges[3]: 'onlyone' is not two tokens"},
      {"/model/merges/3", R"(["a"])", "model.merges[3]: expected a text or a pair"},
      {"/model/merges/3", R"(["a", "nowhere"])", "model.merges[3]: token 'nowhere' is not in the vocabulary"},
      {"/model/unk_token", R"("nowhere")", "field model.unk_token"},
      {"/normalizer/normalizers/0/type", R"("Magic")", "normalizer.normalizers[0]: field type"},
      {"/normalizer", R"({"type":"Replace","pattern":{"Regex":"(("},"content":""})", "bad regular expression"},
      {"/normalizer", R"({"type":"Replace","pattern":{},"content":""})", "field pattern"},
      {"/pre_tokenizer", R"({"type":"Whitespace"})", "pre_tokenizer: field type"},
      {"/pre_tokenizer", R"({"type":"Metaspace","prepend_scheme":"often"})", "field prepend_scheme"},
      {"/pre_tokenizer", R"({"type":"Split","pattern":{"String":" "},"behavior":"Odd"})", "field behavior"},
      {"/post_processor", R"({"type":"Bert"})", "post_processor: field type"},
      {"/post_processor/single", "[]", "field single"},
      {"/post_processor/special_tokens/<s>/ids", "[99999]", "special_tokens.<s>.ids"},
      {"/post_processor/special_tokens", "{}", "special_tokens.<s>: missing"},
      {"/decoder", R"({"type":"CTC"})", "decoder: field type"},
      {"/decoder/decoders/3", R"({"type":"ByteFallback"})", "decoder.decoders[3]: field type"},
      {"/decoder/decoders/3/content", R"("ab")", "field content"},
      {"/added_tokens/0/id", "-4", "added_tokens[0]: field id"},
      {"/added_tokens/0", R"({"id":2000000,"content":"<far>"})", "id 2000000 of token '<far>' is not in"},
      {"/added_tokens/0", R"({"id":7})", "field content: missing"},
  };
  const Folder folder;
  for (const Edit& edit : edits) {
    CAPTURE(std::string(edit.pointer));
    CAPTURE(std::string(edit.value));
    Json bad = good;
    bad[Json::json_pointer(edit.pointer)] = Json::parse(edit.value);
    folder.write("tokenizer.json", bad.dump());
    const std::string message = complaint(folder);
    CAPTURE(message);
    CHECK(contains(message, "tokenizer.json"));
    CHECK(contains(message, edit.message));
  }
  folder.write("tokenizer.json", good.dump());
  CHECK(complaint(folder) == "");
}

TEST_CASE("A regular expression that explodes is an error, not a hang") {
  const Folder folder;
  Json json = read_json(test::golden("tokenizers") / "json_gpt2" / "tokenizer.json");
  json["pre_tokenizer"] = Json::parse(R"({"type":"Split","pattern":{"Regex":"(a+)+$"},"behavior":"Isolated"})");
  folder.write("tokenizer.json", json.dump());
  const auto tokenizer = Tokenizer::load(folder.path());
  CHECK_THROWS_WITH_AS(tokenizer->encode(std::string(60, 'a') + "b"), doctest::Contains("pattern.Regex"), Error);
}

TEST_CASE("A directory without a tokenizer, or with a broken merges.txt, is refused") {
  const Folder folder;
  CHECK(contains(complaint(folder), "no tokenizer here"));
  folder.copy("opt", "vocab.json");
  CHECK(contains(complaint(folder), "no tokenizer here"));
  folder.write("merges.txt", "#version: 0.2\na b c\n");
  CHECK(contains(complaint(folder), "merges.txt: line 2"));
  folder.write("merges.txt", "#version: 0.2\n\nzz nowhere\n");
  CHECK(contains(complaint(folder), "merges.txt: line 3: token 'zz' is not in the vocabulary"));
}

TEST_CASE("One word of a hundred thousand equal characters takes no quadratic time") {
  for (const char* name : {"spm_llama", "json_llama", "opt"}) {
    const auto tokenizer = Tokenizer::load(test::golden("tokenizers") / name);
    for (const char c : {'a', ' ', 'e'}) {
      const std::string text(100'000, c);
      CHECK(tokenizer->decode(tokenizer->encode(text)) == text);
    }
  }
}

}  // namespace
}  // namespace sinter
