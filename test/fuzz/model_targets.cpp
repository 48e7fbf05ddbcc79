#include "test/fuzz/model_targets.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/allocator.h"
#include "models/checkpoint.h"
#include "models/packed.h"
#include "models/tokenizer.h"
#include "models/unicode.h"
#include "test/temp_dir.h"

namespace sinter::fuzz {
namespace {

void expect(bool ok, const char* what) {
  if (!ok) throw std::logic_error(what);
}

template <class F>
Outcome loaded_or_refused(F&& f) {
  try {
    f();
    return Outcome::loaded;
  } catch (const Error& error) {
    expect(error.code() == ErrorCode::input, "refused with an error code other than input");
    expect(std::string_view(error.what()).size() < 1000, "the message is too long");
    return Outcome::refused;
  }
}

// A directory with this one file. Removed first: some file systems sync a file that is written over.
const std::filesystem::path& directory_with(const char* name, std::string_view content) {
  static const test::TempDir dir;
  std::filesystem::remove(dir / name);
  std::ofstream(dir / name, std::ios::binary) << content;
  return dir.path();
}

void use(const FrozenWeight& w, std::size_t file_bytes) {
  Allocator& memory = allocator_of({});
  memory.reset_peak();
  const Tensor dense = w.dense(w.all());
  expect(dense.shape() == Shape{w.out_features(), w.in_features()}, "dense() has another shape");
  const Tensor y = apply(w, Tensor::full({2, w.in_features()}, 1, DType::f32));
  const Tensor dx = apply_transposed(w, Tensor::full({2, w.out_features()}, 1, DType::f32));
  const std::int32_t last[] = {std::int32_t(w.out_features() - 1)};
  expect(w.gather(last).shape() == Shape{1, w.in_features()}, "gather() has another shape");
  // 2 bits become 32; a short row of x and y comes on top.
  expect(memory.stats().largest <= 32 * file_bytes + 4096, "an allocation out of proportion");
  const FrozenWeightPtr again = load_packed(w.pack(), "again");
  const Tensor same = again->dense(again->all());
  const auto a = dense.data<float>(), b = same.data<float>();
  expect(a.size_bytes() == b.size_bytes() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0,
         "packing and loading again changes the values");
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

Outcome load_packed_file(std::string_view input) {
  const auto& dir = directory_with("model.safetensors", input);
  return loaded_or_refused([&] {
    const Checkpoint checkpoint(dir);
    int found = 0;
    for (const std::string name : {"q", "d"})
      if (const auto packed = checkpoint.packed(name)) {
        use(*load_packed(*packed, name), input.size());
        ++found;
      }
    require(found == 2, ErrorCode::input, "packed", "a weight is missing");
  });
}

}  // namespace sinter::fuzz
