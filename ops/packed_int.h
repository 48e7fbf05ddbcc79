#pragma once
#include "core/tensor.h"
#include "core/view.h"
#include "ops/gemm.h"

namespace sinter {

// A [m, n] matrix of b-bit codes on a per-row, per-group grid: w_ij = scale_ig · (code_ij − zero_ig), g = j / group.
// Row i of `codes` is a dense little-endian bit stream: code j stands at bits b·j .. b·j + b − 1 of the row.
// With `order` (act-order) column j of the stored matrix is column order[j] of the weight.
struct PackedInt {
  std::int64_t rows = 0, cols = 0, group = 0;  // group divides up cols; the last group may be short
  int bits = 4;  // 2, 3, 4 or 8
  Tensor codes;  // u8 [m, ceil(n·b / 8)]
  Tensor scale;  // f32 or f16 [m, G], G = ceil(n / group)
  Tensor zero;  // u8 [m, G]
  Tensor order;  // i32 [n], or empty
  std::int64_t groups() const { return (cols + group - 1) / group; }
};

// Checks shapes, types, code width and that `order` is a permutation: Error(input) naming `where`.
void check_packed(const PackedInt&, std::string_view where);

// codes [m, n] u8 (one code per byte) -> the packed bit stream, and back for rows begin..end.
Tensor pack_codes(const Tensor& codes, int bits);
Tensor unpack_codes(const Tensor& packed, std::int64_t cols, int bits);

// w[|rows|, n] in the weight's own column order; out is f32 or f64.
void unpack_rows(const PackedInt&, std::int64_t begin, std::int64_t end, const View& out);

// y[T, |rows|] = beta·y + act(x · W[rows]ᵀ + bias)
void packed_product(const PackedInt&, const ConstView& x, std::int64_t begin, std::int64_t end, const View& y,
                    const Epilogue&, Compute);
// dx[T, n] = beta·dx + dy · W[rows]
void packed_product_transposed(const PackedInt&, const ConstView& dy, std::int64_t begin, std::int64_t end,
                               const View& dx, float beta, Compute);

}  // namespace sinter
