#include "test/fuzz/model_targets.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/tokenizer.h"
#include "models/unicode.h"
#include "test/fuzz/refused.h"
#include "test/temp_dir.h"

namespace sinter::fuzz {
namespace {

// A directory with this one file. Removed first: some file systems sync a file that is written over.
const std::filesystem::path& directory_with(const char* name, std::string_view content) {
  static const test::TempDir dir;
  std::filesystem::remove(dir / name);
  std::ofstream(dir / name, std::ios::binary) << content;
  return dir.path();
}

}  // namespace

Outcome load_config(std::string_view input) {
  return loaded_or_refused([&] {
    const ModelConfig c = parse_config(parse_json(input, "config.json"), "config.json");
    expect(c.vocab > 0 && c.hidden > 0 && c.ffn > 0 && c.layers > 0 && c.max_positions > 0 && c.word_width > 0,
           "a size is not positive");
    expect(c.heads > 0 && c.kv_heads > 0 && c.heads % c.kv_heads == 0 && c.head_dim > 0, "the heads do not fit");
    expect(std::isfinite(c.norm_eps) && c.norm_eps > 0, "a bad epsilon");
    if (c.family == Family::opt) return;
    const auto frequencies = rope_frequencies(c);
    expect(frequencies.size() == std::size_t(c.head_dim / 2), "too many or too few frequencies");
    for (const float f : frequencies) expect(std::isfinite(f) && f >= 0, "a frequency that is not finite");
  });
}

static Outcome load_tokenizer(const char* file, std::string_view input) {
  const auto& dir = directory_with(file, input);
  const Outcome outcome = loaded_or_refused([&] {
    const auto tokenizer = Tokenizer::load(dir);
    const auto ids = tokenizer->encode("ab  Anna's caf\xc3\xa9 \xf0\x9f\x99\x82<s>\n12");
    for (const auto id : ids) expect(id >= 0 && id < tokenizer->size(), "an id beyond the vocabulary");
    expect(unicode::is_valid(tokenizer->decode(ids)), "decoded text is not UTF-8");
  });
  std::filesystem::remove(dir / file);
  return outcome;
}

Outcome load_sentencepiece(std::string_view input) { return load_tokenizer("tokenizer.model", input); }
Outcome load_tokenizer_json(std::string_view input) { return load_tokenizer("tokenizer.json", input); }

}  // namespace sinter::fuzz
