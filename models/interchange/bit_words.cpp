#include "models/interchange/bit_words.h"

#include <algorithm>

#include "core/parallel.h"

namespace sinter {
namespace {

constexpr std::int64_t kColumns = 256;  // a task's share of streams that run down

struct Place {
  std::int64_t word;
  int shift;  // may reach past the word's end in the dense layout
};

Place place_of(std::int64_t i, int bits, WordLayout layout) {
  if (layout == WordLayout::dense) return {i * bits / 32, int(i * bits % 32)};
  const std::int64_t per_word = 32 / bits;
  return {i / per_word, int(i % per_word) * bits};
}

std::int64_t grain_for(std::int64_t width) {
  return std::max<std::int64_t>(1, (1 << 16) / std::max<std::int64_t>(width, 1));
}

// Streams run down the columns: code i of all of them comes from one or two rows of words.
void unpack_columns(const std::uint32_t* words, std::uint8_t* codes, std::int64_t count, std::int64_t n, int bits,
                    WordLayout layout) {
  const std::uint32_t mask = (1u << bits) - 1;
  parallel_for(count, grain_for(n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const Place p = place_of(i, bits, layout);
      const std::uint32_t* low = words + p.word * n;
      std::uint8_t* to = codes + i * n;
      if (p.shift + bits <= 32) {
        for (std::int64_t j = 0; j < n; ++j) to[j] = std::uint8_t(low[j] >> p.shift & mask);
      } else {
        const int up = 32 - p.shift;
        for (std::int64_t j = 0; j < n; ++j) to[j] = std::uint8_t((low[j] >> p.shift | low[j + n] << up) & mask);
      }
    }
  });
}

void unpack_row(const std::uint32_t* words, std::uint8_t* codes, std::int64_t count, int bits, WordLayout layout) {
  const std::uint32_t mask = (1u << bits) - 1;
  for (std::int64_t i = 0; i < count; ++i) {
    const Place p = place_of(i, bits, layout);
    std::uint32_t v = words[p.word] >> p.shift;
    if (p.shift + bits > 32) v |= words[p.word + 1] << (32 - p.shift);
    codes[i] = std::uint8_t(v & mask);
  }
}

void check_axis(const Tensor& t, DType type, int axis, int bits) {
  require(t && t.dtype() == type && t.shape().rank() == 2 && (axis == 0 || axis == 1) && 1 <= bits && bits <= 8,
          ErrorCode::usage, "bit words", "of ", t.shape(), ", axis ", axis, ", ", bits, " bits");
}

}  // namespace

std::int64_t words_for(std::int64_t count, int bits, WordLayout layout) {
  const std::int64_t per_word = 32 / bits;
  return layout == WordLayout::dense ? (count * bits + 31) / 32 : (count + per_word - 1) / per_word;
}

Tensor unpack_words(const Tensor& words, int axis, std::int64_t count, int bits, WordLayout layout) {
  check_axis(words, DType::i32, axis, bits);
  require(words.shape()[axis] == words_for(count, bits, layout), ErrorCode::usage, "unpack_words", words.shape(),
          " for ", count, " codes of ", bits, " bits along axis ", axis);
  const auto* from = reinterpret_cast<const std::uint32_t*>(words.raw());
  const std::int64_t n = words.shape()[1 - axis], width = words.shape()[1];
  Tensor codes = Tensor::empty(axis == 0 ? Shape{count, n} : Shape{n, count}, DType::u8);
  std::uint8_t* to = codes.mutable_data<std::uint8_t>().data();
  if (axis == 0) unpack_columns(from, to, count, n, bits, layout);
  else
    parallel_for(n, grain_for(count), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) unpack_row(from + i * width, to + i * count, count, bits, layout);
    });
  return codes;
}

Tensor pack_words(const Tensor& codes, int axis, int bits, WordLayout layout) {
  check_axis(codes, DType::u8, axis, bits);
  const std::int64_t count = codes.shape()[axis], n = codes.shape()[1 - axis], W = words_for(count, bits, layout);
  Tensor words = Tensor::zeros(axis == 0 ? Shape{W, n} : Shape{n, W}, DType::i32);
  auto* to = reinterpret_cast<std::uint32_t*>(words.mutable_data<std::int32_t>().data());
  const auto from = codes.data<std::uint8_t>();
  const std::int64_t along = axis == 0 ? n : 1, across = axis == 0 ? 1 : count, word_across = axis == 0 ? 1 : W;
  parallel_for(n, axis == 0 ? kColumns : grain_for(count), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < count; ++i) {
      const Place p = place_of(i, bits, layout);
      for (std::int64_t s = begin; s < end; ++s) {
        const std::uint32_t code = from[std::size_t(i * along + s * across)];
        require(code < 1u << bits, ErrorCode::usage, "pack_words", "code ", code, " needs more than ", bits, " bits");
        std::uint32_t* at = to + p.word * along + s * word_across;
        *at |= code << p.shift;
        if (p.shift + bits > 32) at[along] |= code >> (32 - p.shift);
      }
    }
  });
  return words;
}

Tensor transposed_bytes(const Tensor& t) {
  constexpr std::int64_t kTile = 64;
  const std::int64_t m = t.shape()[0], n = t.shape()[1];
  Tensor out = Tensor::empty({n, m}, DType::u8);
  const std::uint8_t* from = t.data<std::uint8_t>().data();
  std::uint8_t* to = out.mutable_data<std::uint8_t>().data();
  parallel_for(n, kTile, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i0 = 0; i0 < m; i0 += kTile)
      for (std::int64_t j = begin; j < end; ++j)
        for (std::int64_t i = i0; i < std::min(i0 + kTile, m); ++i) to[j * m + i] = from[i * n + j];
  });
  return out;
}

}  // namespace sinter
