#include <doctest/doctest.h>

#include "core/error.h"
#include "core/file.h"
#include "models/tokenizer.h"
#include "models/unicode.h"
#include "test/temp_dir.h"
#include "train/data/make_tokenizer.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

std::string training_text() {
  const char* who[] = {"Anna", "the miller", "a grey cat", "Tom", "nobody at all"};
  const char* does[] = {"walks to", "remembers", "paints", "counts 12 stones near"};
  const char* where[] = {"the river", "a red house", "the caf\u00e9", "the mountain"};
  std::string text;
  std::uint32_t state = 1;
  const auto next = [&](std::uint32_t n) { return ((state = state * 1664525u + 1013904223u) >> 16) % n; };
  for (int i = 0; i < 500; ++i) {
    text += std::string(who[next(5)]) + " " + does[next(4)] + " " + where[next(4)] + ".\n";
  }
  return text;
}

TEST_CASE("A made tokenizer has exactly the pieces asked for, laid out as LLaMA or OPT has them") {
  const test::TempDir folder;
  const std::string text = training_text();
  const MadeTokenizer llama = make_tokenizer(text, 360, folder / "llama");
  const auto a = Tokenizer::load(folder / "llama");
  CHECK(a->size() == 360);
  CHECK(llama.size == 360);
  CHECK(a->piece(0) == "<unk>");
  CHECK(a->piece(1) == "<s>");
  CHECK(a->piece(2) == "</s>");
  CHECK(a->piece(3) == "<0x00>");
  CHECK(a->piece(258) == "<0xFF>");
  CHECK(a->bos() == llama.bos);
  CHECK(a->eos() == llama.eos);
  CHECK_FALSE(a->pad().has_value());

  const MadeTokenizer opt = make_tokenizer(text, 360, folder / "opt", TokenizerStyle::opt);
  const auto b = Tokenizer::load(folder / "opt");
  CHECK(b->bos() == 2);
  CHECK(b->eos() == 2);
  CHECK(b->pad() == 1);
  CHECK(opt.pad == 1);
  CHECK(b->piece(3) == "<unk>");
  CHECK(b->encode("Anna").front() == 2);
  CHECK(b->encode("Anna").size() == 1 + b->encode("Anna", false).size());
}

TEST_CASE("A made tokenizer shortens its text and gives it back") {
  const test::TempDir folder;
  const std::string text = training_text();
  make_tokenizer(text, 360, folder.path());
  const auto tokenizer = Tokenizer::load(folder.path());
  const Ids ids = tokenizer->encode(text);
  CHECK(ids.front() == 1);
  CHECK(tokenizer->decode(ids) == text);
  CHECK(ids.size() * 3 < text.size());  // nearly all words of the text are pieces
  CHECK(tokenizer->encode("the river.", false).size() == 2);
  const std::string unseen = "Zw\u00f6lf \u6771\u4eac \U0001F642\t<s";
  CHECK(tokenizer->decode(tokenizer->encode(unseen)) == unseen);
}

TEST_CASE("Pieces stay within words, and digits stand alone") {
  const test::TempDir folder;
  make_tokenizer(training_text(), 350, folder.path());
  const auto tokenizer = Tokenizer::load(folder.path());
  for (int id = 259; id < 350; ++id) {
    const std::string& piece = tokenizer->piece(id);
    CAPTURE(piece);
    CHECK(piece.find(unicode::kMetaspace, 1) == std::string::npos);
    CHECK(piece.find('\n') == std::string::npos);
    if (piece.find_first_of("0123456789") != std::string::npos) CHECK(piece.size() == 1);
  }
}

TEST_CASE("Making a tokenizer twice gives the same bytes") {
  const test::TempDir folder;
  const std::string text = training_text();
  make_tokenizer(text, 350, folder / "a");
  make_tokenizer(text, 350, folder / "b");
  for (const char* name : {"tokenizer.model", "tokenizer_config.json"}) {
    CHECK(read_text(folder / "a" / name) == read_text(folder / "b" / name));
  }
}

TEST_CASE("A vocabulary that is too small, or too large for the text, is refused") {
  const test::TempDir folder;
  const auto code_of = [&](std::string_view text, int pieces) {
    try {
      make_tokenizer(text, pieces, folder.path());
    } catch (const Error& error) { return error.code(); }
    return ErrorCode::tape;
  };
  CHECK(code_of("some text", 200) == ErrorCode::usage);
  CHECK(code_of("some text", 5000) == ErrorCode::input);
  CHECK(code_of("", 300) == ErrorCode::input);
  CHECK_FALSE(fs::exists(folder / "tokenizer.model"));
}

}  // namespace
}  // namespace sinter
