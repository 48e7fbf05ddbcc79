#pragma once
#include "core/tensor.h"

// What the formats with integer codes share: little-endian bit streams, and grids w = scale·(code − zero).
namespace sinter {

constexpr bool is_code_width(std::int64_t bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; }
constexpr std::int64_t stream_bytes(std::int64_t codes, int bits) { return (codes * bits + 7) / 8; }

// Code j stands at bits b·j .. b·j + b − 1 of the stream, lowest bit of the lowest byte first.
constexpr unsigned code_at(const std::uint8_t* stream, std::int64_t j, int bits) {
  const std::int64_t at = j * bits;
  const int shift = int(at % 8);
  unsigned v = stream[at / 8] >> shift;
  if (shift + bits > 8) v |= unsigned(stream[at / 8 + 1]) << (8 - shift);
  return v & ((1u << bits) - 1);
}
// Into a stream whose bits there are still 0.
constexpr void put_code(std::uint8_t* stream, std::int64_t j, int bits, unsigned code) {
  const unsigned shift = unsigned(j * bits % 8);
  std::uint8_t* at = stream + j * bits / 8;
  at[0] = std::uint8_t(at[0] | code << shift);
  if (shift + unsigned(bits) > 8) at[1] = std::uint8_t(at[1] | code >> (8 - shift));
}

// The scales of a grid: f32, or f16 where that holds them exactly.
class Scales {
 public:
  explicit Scales(const Tensor& t) : raw_(t.raw()), half_(t.dtype() == DType::f16) {}
  float operator[](std::int64_t i) const {
    return half_ ? to_float(reinterpret_cast<const f16*>(raw_)[i]) : reinterpret_cast<const float*>(raw_)[i];
  }

 private:
  const std::byte* raw_;
  bool half_;
};

// Error(input) naming `where` and the tensor: type and shape; a grid of finite scales and zeros below 2^bits.
void check_part(const Tensor&, DType, Shape, std::string_view where, std::string_view name);
void check_grid(const Tensor& scale, const Tensor& zero, Shape, int bits, std::string_view where);

}  // namespace sinter
