#include <doctest/doctest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/file.h"
#include "core/json.h"
#include "models/tokenizer.h"
#include "test/shared_data.h"

// Vectors and counts for the real tokenizers of LLaMA and OPT, which do not ship with the repository.
namespace sinter {
namespace {

using Ids = std::vector<std::int32_t>;

// Texts between lines "__ggml_vocab_test__"; the line break before the mark belongs to the mark.
std::vector<std::string> read_vectors(const std::filesystem::path& file) {
  const std::string mark = "\n__ggml_vocab_test__\n", all = read_text(file);
  std::vector<std::string> texts;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find(mark, at), all.size());
    texts.push_back(all.substr(at, end - at));
    at = end + mark.size();
  }
  return texts;
}

std::vector<Ids> read_ids(const std::filesystem::path& file) {
  std::vector<Ids> out;
  std::istringstream lines(read_text(file));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream numbers(line);
    Ids ids;
    for (std::int32_t id; numbers >> id;) ids.push_back(id);
    out.push_back(std::move(ids));
  }
  return out;
}

// Rows as in the Hugging Face data set: a line with its newline, a blank line as the empty row, joined by two newlines.
std::string join_rows(const std::string& file) {
  std::string out, line;
  std::istringstream lines(file);
  for (bool first = true; std::getline(lines, line); first = false) {
    if (!first) out += "\n\n";
    if (line.find_first_not_of(" \t\r") != std::string::npos) out += line + "\n";
  }
  return out;
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST_CASE("All published LLaMA vectors are met") {
  SINTER_SHARED_OR_SKIP(directory, "tokenizers/llama");
  const auto tokenizer = Tokenizer::load(directory);
  const auto texts = read_vectors(directory / "vectors.inp");
  const auto expected = read_ids(directory / "vectors.out");
  REQUIRE(texts.size() >= 46);
  REQUIRE(texts.size() == expected.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    CAPTURE(texts[i]);
    CHECK(tokenizer->encode(texts[i], false) == expected[i]);
    CHECK(tokenizer->decode(tokenizer->encode(texts[i])) == texts[i]);
  }
}

// The GPT-2 vectors hold GPT-2's ids. OPT has the same pieces under other ids: merges are in the same order, so that
// GPT-2's id of a merged piece is 256 + its line in merges.txt, and that of a byte its place in the byte alphabet.
TEST_CASE("All published GPT-2 vectors are met by OPT's files, piece by piece") {
  SINTER_SHARED_OR_SKIP(directory, "tokenizers/opt");
  const auto tokenizer = Tokenizer::load(directory);
  const auto texts = read_vectors(directory / "gpt2-vectors.inp");
  const auto expected = read_ids(directory / "gpt2-vectors.out");
  REQUIRE(texts.size() >= 46);
  REQUIRE(texts.size() == expected.size());

  std::vector<std::string> pieces;
  const auto push_range = [&](int from, int to) {
    for (int c = from; c <= to; ++c)
      pieces.push_back(c < 0x80 ? std::string(1, static_cast<char>(c))
                                : std::string{static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))});
  };
  push_range(33, 126);
  push_range(161, 172);
  push_range(174, 255);
  push_range(0x100, 0x143);
  REQUIRE(pieces.size() == 256);
  std::istringstream merges(read_text(directory / "merges.txt"));
  std::string line;
  std::getline(merges, line);
  while (std::getline(merges, line)) pieces.push_back(line.replace(line.find(' '), 1, ""));

  for (std::size_t i = 0; i < texts.size(); ++i) {
    CAPTURE(texts[i]);
    const Ids ids = tokenizer->encode(texts[i], false);
    REQUIRE(ids.size() == expected[i].size());
    for (std::size_t k = 0; k < ids.size(); ++k) {
      CHECK(tokenizer->piece(ids[k]) == pieces.at(static_cast<std::size_t>(expected[i][k])));
    }
  }
}

TEST_CASE("OPT puts </s> first exactly once") {
  SINTER_SHARED_OR_SKIP(directory, "tokenizers/opt");
  const auto tokenizer = Tokenizer::load(directory);
  CHECK(tokenizer->encode("I like you.") == Ids{2, 100, 101, 47, 4});
  CHECK(tokenizer->encode("I like you.", false) == Ids{100, 101, 47, 4});
  CHECK(tokenizer->size() == 50265);
  CHECK(tokenizer->decode(Ids{2, 100, 101, 47, 4, 50266}) == "I like you.");
}

TEST_CASE("WikiText-2 has the known counts of tokens, as one text and as rows") {
  SINTER_SHARED_OR_SKIP(file, "wikitext2/wiki.test.raw");
  SINTER_SHARED_OR_SKIP(llama, "tokenizers/llama");
  SINTER_SHARED_OR_SKIP(opt, "tokenizers/opt");
  const std::string text = read_text(file), rows = join_rows(text);
  const auto check = [&](const std::filesystem::path& directory, std::size_t whole, std::size_t joined) {
    const auto tokenizer = Tokenizer::load(directory);
    Ids ids;
    const double seconds = seconds_of([&] { ids = tokenizer->encode(text, false); });
    MESSAGE(directory.filename().string(), ": ", text.size(), " bytes as one text in ", seconds, " s");
    CHECK(ids.size() == whole);
    CHECK(tokenizer->decode(ids) == text);
    CHECK(tokenizer->encode(rows).size() == joined);
  };
  check(llama, 335687, 341469);
  check(opt, 286221, 287645);
}

TEST_CASE("The small models' tokenizers give their recorded prompts") {
  for (const char* name : {"stories260K", "babyllama361"}) {
    SINTER_SHARED_OR_SKIP(directory, std::string("models/") + name);
    const auto tokenizer = Tokenizer::load(directory);
    const Json golden = read_json(directory / "golden.json");
    CHECK(tokenizer->encode(golden["prompt"].get<std::string>()) == golden["prompt_ids"].get<Ids>());
  }
}

}  // namespace
}  // namespace sinter
