// decode_bf16, decode_int4 and so on: one token at a time through a LLaMA of 1.1 billion weights in a storage format.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "apps/bench.h"
#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "models/llama.h"
#include "models/weights/formats.h"

namespace sinter::bench {
namespace {

constexpr std::int64_t kGroup = 128;
constexpr KeptPattern kTwoOfFour{2, 4};

// Copies of a random tensor, one after the other: what the weights are does not matter, where they are does.
Tensor filled(Shape shape, const Tensor& with) {
  Tensor t = Tensor::empty(shape, with.dtype());
  void* const start = t.dtype() == DType::u8 ? static_cast<void*>(t.mutable_data<std::uint8_t>().data())
                                             : t.mutable_data<bf16>().data();
  auto* const to = static_cast<std::byte*>(start);
  const auto bytes = std::int64_t(t.bytes()), part = std::int64_t(with.bytes());
  parallel_for((bytes + part - 1) / part, 1, [&](std::int64_t i, std::int64_t) {
    std::memcpy(to + i * part, with.raw(), std::size_t(std::min(part, bytes - i * part)));
  });
  return t;
}

class RandomFormat final : public TensorSource {
 public:
  using Make = FrozenWeightPtr (RandomFormat::*)(std::int64_t, std::int64_t) const;
  RandomFormat(Make linear, Make head) : linear_(linear), head_(head) {
    const Tensor values = random_tensor({1 << 18}, 40);
    halves_ = cast(values, DType::bf16);
    codes_ = Tensor::empty({1 << 20}, DType::u8);
    std::memcpy(codes_.mutable_data<std::uint8_t>().data(), values.raw(), std::size_t(codes_.numel()));
    pairs_ = codes_.clone();  // two of four bits, twice
    constexpr std::uint8_t kPairs[] = {3, 5, 6, 9, 10, 12};
    for (std::uint8_t& v : pairs_.mutable_data<std::uint8_t>())
      v = std::uint8_t(kPairs[v % 6] | kPairs[v / 6 % 6] << 4);
  }
  bool has(const std::string&) const override { return false; }
  Tensor vector(const std::string&, Shape shape) override { return Tensor::full(shape, 1, DType::f32); }
  FrozenWeightPtr matrix(const std::string& name, std::int64_t out, std::int64_t in) override {
    if (name == "model.embed_tokens") return halves(out, in);
    return (this->*(name == "lm_head" ? head_ : linear_))(out, in);
  }

  FrozenWeightPtr halves(std::int64_t out, std::int64_t in) const { return freeze_dense(filled({out, in}, halves_)); }
  template <int kBits>
  FrozenWeightPtr grouped(std::int64_t out, std::int64_t in) const {
    PackedInt w = grids(out, in, kBits);
    w.codes = filled({out, in * kBits / 8}, codes_);
    return freeze_grouped_int(std::move(w));
  }
  FrozenWeightPtr two_of_four(std::int64_t out, std::int64_t in) const {
    SparseMatrix w = pruned(out, in, pairs_);
    w.pattern = kTwoOfFour;
    w.values = filled({out, in / 2}, halves_);
    return freeze_sparse(std::move(w));
  }
  FrozenWeightPtr bitmap(std::int64_t out, std::int64_t in) const {
    constexpr int kBits = 4;
    SparseMatrix w = pruned(out, in, codes_);
    const PackedInt g = grids(out, in, kBits);
    w.bits = kBits, w.group = g.group, w.scale = g.scale, w.zero = g.zero;
    const auto mask = w.mask.data<std::uint8_t>();
    std::int64_t bytes = 0;
    std::vector<std::int64_t> odd;  // ends of rows with half a byte, whose other half is 0
    for (std::int64_t i = 0; i < out; ++i) {
      std::int64_t kept = 0;
      for (const unsigned byte : mask.subspan(std::size_t(i * in / 8), std::size_t(in / 8)))
        kept += __builtin_popcount(byte);
      bytes += (kept + 1) / 2;
      if (kept % 2) odd.push_back(bytes - 1);
    }
    w.codes = filled({bytes}, codes_);
    for (const std::int64_t at : odd) w.codes.mutable_data<std::uint8_t>()[std::size_t(at)] &= 15;
    return freeze_sparse(std::move(w));
  }

 private:
  PackedInt grids(std::int64_t out, std::int64_t in, int bits) const {
    PackedInt w{
        .rows = out, .cols = in, .group = kGroup, .bits = bits, .codes = {}, .scale = {}, .zero = {}, .order = {}};
    w.scale = Tensor::full({out, w.groups()}, 1. / (1 << bits), DType::f16);
    w.zero = Tensor::empty({out, w.groups()}, DType::u8);
    std::ranges::fill(w.zero.mutable_data<std::uint8_t>(), std::uint8_t(1 << (bits - 1)));
    return w;
  }
  static SparseMatrix pruned(std::int64_t out, std::int64_t in, const Tensor& mask) {
    SparseMatrix w;
    w.rows = out, w.cols = in, w.mask = filled({out, in / 8}, mask);
    return w;
  }
  Make linear_, head_;
  Tensor halves_, codes_, pairs_;
};

std::unique_ptr<CausalLM> tiny_llama(RandomFormat source) {
  const Json config = {{"model_type", "llama"},     {"vocab_size", 32000},          {"hidden_size", 2048},
                       {"intermediate_size", 5632}, {"num_hidden_layers", 22},      {"num_attention_heads", 32},
                       {"num_key_value_heads", 4},  {"tie_word_embeddings", false}, {"max_position_embeddings", 2048}};
  return make_llama(parse_config(config, "bench"), source);
}

std::vector<Row> rows(LogSink& log, std::string_view what, RandomFormat::Make linear, RandomFormat::Make head) {
  const MemoryReader reader;
  const auto model = tiny_llama({linear, head});
  const std::string shape = "TinyLlama 1.1B, tokens 33 to 48, ";
  return {decode(log, what, shape + "f32", *model, reader, Compute::f32),
          decode(log, what, shape + "bf16", *model, reader, Compute::bf16)};
}

}  // namespace

std::vector<Row> decode_bf16(LogSink& log) {
  return rows(log, "decode_bf16", &RandomFormat::halves, &RandomFormat::halves);
}
std::vector<Row> decode_int8(LogSink& log) {
  return rows(log, "decode_int8", &RandomFormat::grouped<8>, &RandomFormat::grouped<8>);
}
std::vector<Row> decode_int4(LogSink& log) {
  return rows(log, "decode_int4", &RandomFormat::grouped<4>, &RandomFormat::grouped<8>);
}
std::vector<Row> decode_int3(LogSink& log) {
  return rows(log, "decode_int3", &RandomFormat::grouped<3>, &RandomFormat::grouped<8>);
}
std::vector<Row> decode_int2(LogSink& log) {
  return rows(log, "decode_int2", &RandomFormat::grouped<2>, &RandomFormat::grouped<8>);
}
std::vector<Row> decode_2of4_bf16(LogSink& log) {
  return rows(log, "decode_2of4_bf16", &RandomFormat::two_of_four, &RandomFormat::halves);
}
std::vector<Row> decode_bitmap_int4(LogSink& log) {
  return rows(log, "decode_bitmap_int4", &RandomFormat::bitmap, &RandomFormat::grouped<8>);
}

}  // namespace sinter::bench
