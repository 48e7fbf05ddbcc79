// Writes a model of LLaMA's shapes whose linears are random codes in our packed formats, with a tokenizer of 31862 pairs
// of characters and a text: for measuring what training on frozen weights takes, within seconds and without a checkpoint.
//
//     packed_model 1.1b|7b DIR LAYERS BITS N:M|all
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/parallel.h"
#include "core/random.h"
#include "models/checkpoint.h"
#include "models/llama.h"
#include "models/weights/formats.h"
#include "ops/code_stream.h"

namespace {

using namespace sinter;
namespace fs = std::filesystem;

constexpr std::int64_t kGroup = 128, kLetters = 178;  // 178 letters and their 178² pairs are below 32000 ids

Json config_of(const std::string& size, std::int64_t layers) {
  const bool small = size == "1.1b";
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", small ? 2048 : 4096},
          {"intermediate_size", small ? 5632 : 11008},
          {"num_hidden_layers", layers},
          {"num_attention_heads", 32},
          {"num_key_value_heads", small ? 4 : 32},
          {"vocab_size", 32000},
          {"max_position_embeddings", 2048},
          {"rms_norm_eps", 1e-5},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"},
          {"quantization_config", {{"quant_method", "sinter"}, {"version", 1}}}};
}

// Linears of random codes; the ends in bf16, of standard deviation 0.02.
class RandomSource final : public TensorSource {
 public:
  RandomSource(int bits, KeptPattern pattern) : bits_(bits), pattern_(pattern) {}
  bool has(const std::string&) const override { return false; }
  Tensor vector(const std::string&, Shape shape) override { return Tensor::full(shape, 1, DType::f32); }
  FrozenWeightPtr matrix(const std::string& name, std::int64_t out, std::int64_t in) override {
    if (!name.ends_with("_proj")) return freeze_dense(halves({out, in}));
    const std::int64_t groups = (in + kGroup - 1) / kGroup, middle = std::int64_t{1} << (bits_ - 1);
    const Tensor scale = Tensor::full({out, groups}, 0.02 * 1.732 / double(middle), DType::f16);
    Tensor zero = Tensor::empty({out, groups}, DType::u8);
    std::ranges::fill(zero.mutable_data<std::uint8_t>(), std::uint8_t(middle));
    if (pattern_.of == 0)
      return freeze_grouped_int({.rows = out,
                                 .cols = in,
                                 .group = kGroup,
                                 .bits = bits_,
                                 .codes = bytes({out, stream_bytes(in, bits_)}),
                                 .scale = scale,
                                 .zero = zero,
                                 .order = {}});
    SparseMatrix w;
    w.rows = out, w.cols = in, w.pattern = pattern_, w.bits = bits_, w.group = kGroup;
    w.mask = mask({out, (in + 7) / 8}, in);
    w.codes = bytes({out, stream_bytes(in / pattern_.of * pattern_.keep, bits_)});
    w.scale = scale, w.zero = zero;
    return freeze_sparse(std::move(w));
  }

 private:
  // value(i, 64 random bits) for every element i.
  template <class T, class F>
  Tensor made(Shape shape, DType dtype, F value) {
    Tensor t = Tensor::empty(shape, dtype);
    T* const to = t.mutable_data<T>().data();
    const std::uint64_t stream = ++next_ << 40;
    parallel_for(t.numel(), 1 << 18, [&](std::int64_t i, std::int64_t end) {
      for (; i < end; ++i) {  // splitmix64
        std::uint64_t z = stream + std::uint64_t(i) * 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        to[i] = value(i, z ^ (z >> 31));
      }
    });
    return t;
  }
  Tensor bytes(Shape shape) {
    return made<std::uint8_t>(shape, DType::u8, [](std::int64_t, std::uint64_t z) { return std::uint8_t(z >> 56); });
  }
  Tensor halves(Shape shape) {
    return made<bf16>(shape, DType::bf16, [](std::int64_t, std::uint64_t z) {
      return from_float<bf16>(float((double(z >> 11) * 0x1p-53 - 0.5) * 0.02 * 3.4641));
    });
  }
  // The first `keep` of each group, turned around within it by a random number of places.
  Tensor mask(Shape shape, std::int64_t cols) {
    const auto [keep, of] = pattern_;
    return made<std::uint8_t>(shape, DType::u8, [=, row = shape[1]](std::int64_t i, std::uint64_t z) {
      unsigned byte = 0;
      for (std::int64_t bit = 0, j = i % row * 8; bit < 8 && j < cols; ++bit, ++j) {
        const std::int64_t turn = std::int64_t((z >> (j / of % 8 * 8)) % std::uint64_t(of));
        if ((j + turn) % of < keep) byte |= 1u << bit;
      }
      return std::uint8_t(byte);
    });
  }

  int bits_;
  KeptPattern pattern_;
  std::uint64_t next_ = 0;
};

std::string letter(std::int64_t i) {  // from U+4E00 on, three bytes of UTF-8 each
  const auto c = unsigned(0x4E00 + i);
  return {char(0xE0 | c >> 12), char(0x80 | (c >> 6 & 0x3F)), char(0x80 | (c & 0x3F))};
}

Json tokenizer() {
  Json vocab = Json::object(), merges = Json::array();
  for (std::int64_t i = 0; i < kLetters; ++i) vocab[letter(i)] = i;
  for (std::int64_t i = 0; i < kLetters; ++i)
    for (std::int64_t j = 0; j < kLetters; ++j) {
      vocab.get_ref<Json::object_t&>().emplace_back(letter(i) + letter(j), kLetters * (i + 1) + j);
      merges.push_back(letter(i) + " " + letter(j));
    }
  return {{"version", "1.0"}, {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

std::string text(std::int64_t letters) {
  std::string all;
  const Rng rng{3, 0};
  for (std::int64_t i = 0; i < letters; ++i)
    all += letter(std::int64_t(rng.below(std::uint64_t(i), std::uint64_t(kLetters))));
  return all;
}

void write_model(const std::string& size, const fs::path& dir, std::int64_t layers, int bits, KeptPattern pattern) {
  fs::create_directories(dir);
  const Json config = config_of(size, layers);
  RandomSource source(bits, pattern);
  const auto model = make_llama(parse_config(config, "config"), source);
  save_weights(*model, dir, {.source = DType::bf16});
  write_text_atomic(dir / "config.json", json_text(config));
  write_text_atomic(dir / "tokenizer.json", tokenizer().dump());
  write_text_atomic(dir / "text.txt", text(32000));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string size = argc == 6 ? argv[1] : "", pattern = argc == 6 ? argv[5] : "";
  int keep = 0, of = 0;
  if ((size != "1.1b" && size != "7b") ||
      (pattern != "all" && std::sscanf(pattern.c_str(), "%d:%d", &keep, &of) != 2)) {
    std::fputs("usage: packed_model 1.1b|7b DIR LAYERS BITS N:M|all\n", stderr);
    return 2;
  }
  try {
    write_model(size, argv[2], std::stoll(argv[3]), std::stoi(argv[4]), {keep, of});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "packed_model: %s\n", e.what());
    return 1;
  }
}
