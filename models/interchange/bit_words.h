#pragma once
#include "core/tensor.h"

// Codes of b bits in 32-bit words, as GPTQ, AWQ and compressed-tensors keep them: an i32 matrix in which each column
// (axis 0) or each row (axis 1) is a stream, lowest bit of the first word first.
namespace sinter {

// dense: code i at bits b·i .. b·i + b − 1 of the stream, across words where b does not divide 32.
// whole: ⌊32/b⌋ codes per word, the unused top bits are 0 (compressed-tensors before 0.17).
enum class WordLayout { dense, whole };

std::int64_t words_for(std::int64_t count, int bits, WordLayout);

// words i32 [W, n] -> u8 [count, n] for axis 0; [m, W] -> [m, count] for axis 1. W must be words_for(count).
Tensor unpack_words(const Tensor& words, int axis, std::int64_t count, int bits, WordLayout = WordLayout::dense);
// The way back; codes must be below 2^bits.
Tensor pack_words(const Tensor& codes, int axis, int bits, WordLayout = WordLayout::dense);

Tensor transposed_bytes(const Tensor&);  // u8 [m, n] -> [n, m]

}  // namespace sinter
