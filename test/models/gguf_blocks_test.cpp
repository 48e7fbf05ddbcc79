#include <doctest/doctest.h>

#include "core/tensor_file.h"
#include "models/interchange/gguf_blocks.h"
#include "models/packed.h"
#include "test/check.h"
#include "test/shared_data.h"

using namespace sinter;
using namespace sinter::test;

namespace {

std::vector<std::uint8_t> bytes_of(std::span<const std::byte> bytes) {
  std::vector<std::uint8_t> out;
  for (const std::byte b : bytes) out.push_back(std::uint8_t(b));
  return out;
}

std::vector<std::uint8_t> from_hex(std::string_view hex) {
  std::vector<std::uint8_t> out;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    out.push_back(std::uint8_t(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return out;
}

// x_i = (−1)^i · i / 4
std::vector<float> alternating() {
  std::vector<float> x(32);
  for (int i = 0; i < 32; ++i) x[std::size_t(i)] = float(i % 2 ? -i : i) / 4;
  return x;
}

}  // namespace

TEST_CASE("blocks of a known row are the documented bytes") {
  std::vector<std::byte> q4(18), q8(34);
  quantize_q4_0(alternating(), q4.data());
  quantize_q8_0(alternating(), q8.data());
  CHECK(bytes_of(q4) == from_hex("c03bc848d937d937ea26ea26fb15fb15fc04"));
  CHECK(bytes_of(q8) == from_hex("d02b00fc08f410ec19e321db29d331cb39c342ba4ab252aa5aa2629a6b9173897b81"));
}

TEST_CASE("blocks equal those of llama.cpp's own package byte for byte, rows of zeros included") {
  const TensorFile file(golden("gguf/blocks.safetensors"));
  const Tensor x = file.tensor("x");
  const std::int64_t m = x.shape()[0], n = x.shape()[1];
  const struct {
    const char *part, *type;
    std::int64_t bytes;
    void (*quantize)(std::span<const float>, std::byte*);
    void (*dequantize)(const std::byte*, std::span<float>);
  } kinds[] = {{"q4_0", "Q4_0", 18, quantize_q4_0, dequantize_q4_0},
               {"q8_0", "Q8_0", 34, quantize_q8_0, dequantize_q8_0}};
  for (const auto& k : kinds) {
    CAPTURE(k.type);
    const Tensor want = file.tensor(k.part);
    REQUIRE(want.shape() == Shape{m, n / 32 * k.bytes});
    std::vector<std::byte> got(want.bytes());
    k.quantize(x.data<float>(), got.data());
    CHECK(std::memcmp(got.data(), want.raw(), got.size()) == 0);

    Tensor back = Tensor::empty(x.shape(), DType::f32);
    k.dequantize(got.data(), back.mutable_data<float>());
    CHECK(nmse(back, x) < (k.bytes == 18 ? 0.01 : 1e-4));
    const auto w = load_packed(unpack_blocks(k.type, want.raw(), m, n, {}), k.type);
    CHECK(same_bits(w->dense(w->all()), back));
  }
}

TEST_CASE("Q6_K decodes as llama.cpp's own package does") {
  const TensorFile file(golden("gguf/blocks.safetensors"));
  const Tensor blocks = file.tensor("q6_k"), want = file.tensor("q6_k.values");
  const auto w = load_packed(unpack_blocks("Q6_K", blocks.raw(), want.shape()[0], want.shape()[1], {}), "q6_k");
  CHECK(same_bits(w->dense(w->all()), want));
}

TEST_CASE("a block of a known grid keeps its codes") {
  std::vector<int> q(32);
  for (int i = 0; i < 32; ++i) q[std::size_t(i)] = i % 16 - 8;
  std::vector<std::byte> q4(18), q8(34);
  std::vector<float> x4(32), x8(32);
  put_q4_0(q, to_f16(-0.25f), q4.data());
  dequantize_q4_0(q4.data(), x4);
  q[0] = -128;
  q[1] = 127;
  put_q8_0(q, to_f16(0.5f), q8.data());
  dequantize_q8_0(q8.data(), x8);
  for (std::size_t i = 0; i < 32; ++i) {
    CHECK(x4[i] == -0.25f * float(int(i) % 16 - 8));
    CHECK(x8[i] == 0.5f * float(q[i]));
  }
}

TEST_CASE("the rows of a head are interleaved and put back") {
  const HeadRows rows{8};
  const std::int64_t want[] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (std::int64_t i = 0; i < 24; ++i) {
    CHECK(rows.hf_row(i) == i / 8 * 8 + want[i % 8]);
    CHECK(rows.gguf_row(rows.hf_row(i)) == i);
    CHECK(HeadRows{}.hf_row(i) == i);
  }
}
