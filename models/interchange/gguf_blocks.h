#pragma once
#include <cstddef>
#include <span>

#include "models/interchange/gguf_layout.h"
#include "ops/frozen_weight.h"

// ggml's block formats, along the rows of a matrix.
//   Q8_0  32 values, 34 bytes: f16 d, 32 x i8 q              w = d·q
//   Q4_0  32 values, 18 bytes: f16 d, 16 bytes               w = d·(q − 8), byte j = q_j | q_{j+16} << 4
//   Q6_K 256 values, 210 bytes: 128 bytes low halves of q, 64 bytes high quarters, 16 x i8 s, f16 d
//                                                            w = d·s_g·(q − 32), g = j / 16
namespace sinter {

inline constexpr std::int64_t kGgmlBlock = 32;

// Rows of float to blocks, bit for bit as ggml's reference functions do. x is finite, a multiple of 32 values; `to` has
// 34 or 18 bytes for each 32.
void quantize_q8_0(std::span<const float> x, std::byte* to);
void quantize_q4_0(std::span<const float> x, std::byte* to);
// And back.
void dequantize_q8_0(const std::byte* from, std::span<float> x);
void dequantize_q4_0(const std::byte* from, std::span<float> x);

// A block of a grid that is there already: q_j = code_j − zero, within −128..127 or −8..7.
void put_q8_0(std::span<const int> q, f16 scale, std::byte* to);
void put_q4_0(std::span<const int> q, f16 scale, std::byte* to);

// Blocks of m rows of n values as grouped_int, the same values exactly. `type` is Q4_0, Q8_0 or Q6_K.
Packed unpack_blocks(std::string_view type, const std::byte* blocks, std::int64_t m, std::int64_t n, HeadRows);

}  // namespace sinter
