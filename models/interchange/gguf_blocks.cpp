#include "models/interchange/gguf_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/parallel.h"

namespace sinter {
namespace {

constexpr std::int64_t kQ80Bytes = 34, kQ40Bytes = 18, kHalf = kGgmlBlock / 2;

f16 load_scale(const std::byte* at) {
  f16 d;
  std::memcpy(&d, at, sizeof d);
  return d;
}

// One block into codes (a byte each) and the scales of its groups.
struct Unpacked {
  int bits;
  std::int64_t group, zero;
  bool half_scales;
};

void store_nibbles(const std::byte* block, std::uint8_t* to) {
  const auto q = [&](std::int64_t j) {
    const auto byte = std::uint8_t(block[2 + j % kHalf]);
    return unsigned(j < kHalf ? byte & 15 : byte >> 4);
  };
  for (std::int64_t j = 0; j < kHalf; ++j) to[j] = std::uint8_t(q(2 * j) | q(2 * j + 1) << 4);
}

void store_bytes(const std::byte* block, std::uint8_t* to) {
  for (std::int64_t j = 0; j < kGgmlBlock; ++j) to[j] = std::uint8_t(std::uint8_t(block[2 + j]) ^ 0x80);  // q + 128
}

// Two halves of 128 values; in each, 32 bytes of high quarters serve four runs of 32 values.
void store_q6(const std::byte* block, std::uint8_t* to, float* scale) {
  const auto* low = reinterpret_cast<const std::uint8_t*>(block);
  const std::uint8_t *high = low + 128, *sub = high + 64;
  const float d = to_float(load_scale(block + 208));
  for (int j = 0; j < 256; ++j) {
    const int half = j / 128, run = j % 128 / 32, l = j % 32;
    const unsigned nibble = low[64 * half + 32 * (run % 2) + l] >> (run / 2 * 4) & 15u;
    to[j] = std::uint8_t(nibble | (high[32 * half + l] >> (2 * run) & 3u) << 4);
  }
  for (int g = 0; g < 16; ++g) scale[g] = d * float(std::int8_t(sub[g]));
}

}  // namespace

// d = max |x| / 127, q = round(x / d), halves away from zero
void quantize_q8_0(std::span<const float> x, std::byte* to) {
  int q[kGgmlBlock];
  for (std::size_t at = 0; at < x.size(); at += kGgmlBlock, to += kQ80Bytes) {
    const auto block = x.subspan(at, kGgmlBlock);
    float most = 0;
    for (const float v : block) most = std::max(most, std::abs(v));
    const float d = most / 127, inverse = d != 0 ? 1 / d : 0;
    for (std::size_t j = 0; j < block.size(); ++j) q[j] = int(std::round(block[j] * inverse));
    put_q8_0(q, to_f16(d), to);
  }
}

// d = m / −8 with m the value of the largest |x|, so that m becomes −8; q = ⌊x / d + 8.5⌋, at most 15
void quantize_q4_0(std::span<const float> x, std::byte* to) {
  int q[kGgmlBlock];
  for (std::size_t at = 0; at < x.size(); at += kGgmlBlock, to += kQ40Bytes) {
    const auto block = x.subspan(at, kGgmlBlock);
    float m = 0;
    for (const float v : block)
      if (std::abs(v) > std::abs(m)) m = v;
    const float d = m / -8, inverse = d != 0 ? 1 / d : 0;
    for (std::size_t j = 0; j < block.size(); ++j) q[j] = std::min(15, int(block[j] * inverse + 8.5f)) - 8;
    put_q4_0(q, to_f16(d), to);
  }
}

void put_q8_0(std::span<const int> q, f16 scale, std::byte* to) {
  std::memcpy(to, &scale, sizeof scale);
  for (std::size_t j = 0; j < kGgmlBlock; ++j) to[2 + j] = std::byte(std::uint8_t(q[j]));
}

void put_q4_0(std::span<const int> q, f16 scale, std::byte* to) {
  std::memcpy(to, &scale, sizeof scale);
  for (std::size_t j = 0; j < kHalf; ++j) to[2 + j] = std::byte((q[j] + 8) | (q[j + kHalf] + 8) << 4);
}

void dequantize_q8_0(const std::byte* from, std::span<float> x) {
  for (std::size_t at = 0; at < x.size(); at += kGgmlBlock, from += kQ80Bytes)
    for (std::size_t j = 0; j < kGgmlBlock; ++j)
      x[at + j] = to_float(load_scale(from)) * float(std::int8_t(from[2 + j]));
}

void dequantize_q4_0(const std::byte* from, std::span<float> x) {
  for (std::size_t at = 0; at < x.size(); at += kGgmlBlock, from += kQ40Bytes)
    for (std::size_t j = 0; j < kHalf; ++j) {
      const float d = to_float(load_scale(from));
      const int byte = int(from[2 + j]);
      x[at + j] = d * float((byte & 15) - 8);
      x[at + j + kHalf] = d * float((byte >> 4) - 8);
    }
}

Packed unpack_blocks(std::string_view type, const std::byte* blocks, std::int64_t m, std::int64_t n, HeadRows order) {
  const bool q4 = type == "Q4_0", q6 = type == "Q6_K";
  const Unpacked u = q4   ? Unpacked{4, kGgmlBlock, 8, true}
                     : q6 ? Unpacked{8, 16, 32, false}
                          : Unpacked{8, kGgmlBlock, 128, true};
  const std::int64_t block = q6 ? 256 : kGgmlBlock, bytes = q4 ? kQ40Bytes : q6 ? 210 : kQ80Bytes;
  const std::int64_t per_row = n / block, code_bytes = block * u.bits / 8, groups = n / u.group;
  Tensor codes = Tensor::empty({m, n * u.bits / 8}, DType::u8), zero = Tensor::empty({m, groups}, DType::u8);
  Tensor scale = Tensor::empty({m, groups}, u.half_scales ? DType::f16 : DType::f32);
  std::ranges::fill(zero.mutable_data<std::uint8_t>(), std::uint8_t(u.zero));
  const auto c = codes.mutable_data<std::uint8_t>();
  const auto s16 = u.half_scales ? scale.mutable_data<f16>() : std::span<f16>();
  const auto s32 = u.half_scales ? std::span<float>() : scale.mutable_data<float>();
  parallel_for(m, std::max<std::int64_t>(1, (1 << 16) / n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::byte* row = blocks + order.gguf_row(i) * per_row * bytes;
      for (std::int64_t b = 0; b < per_row; ++b, row += bytes) {
        std::uint8_t* to = c.data() + (i * per_row + b) * code_bytes;
        if (q6) {
          store_q6(row, to, s32.data() + i * groups + 16 * b);
          continue;
        }
        s16[std::size_t(i * groups + b)] = load_scale(row);
        q4 ? store_nibbles(row, to) : store_bytes(row, to);
      }
    }
  });
  return {"grouped_int",
          u.half_scales ? 2 : 1,
          {{"bits", u.bits}, {"group", u.group}, {"cols", n}},
          {{"codes", codes}, {"scale", scale}, {"zero", zero}}};
}

}  // namespace sinter
