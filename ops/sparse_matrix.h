#pragma once
#include <span>
#include <vector>

#include "ops/packed_int.h"
#include "ops/strip_product.h"

namespace sinter {

// Which weights may be kept: any (of = 0), or n:m: exactly `keep` of each aligned group of `of` columns.
struct KeptPattern {
  std::int64_t keep = 0, of = 0;
};

// A [m, n] matrix of which only the kept weights are stored, those of each row by ascending column; the others are 0.
// The kept weights are floats, or codes on a per-row, per-group grid: w_ij = scale_ig · (code − zero_ig), g = j / group
// or group_of[j], of the column.
struct SparseMatrix {
  std::int64_t rows = 0, cols = 0;
  KeptPattern pattern;
  Tensor mask;  // u8 [m, ceil(n / 8)]; bit j % 8 of byte j / 8: weight j is kept
  Tensor values;  // f32, f16 or bf16 [kept], n:m: [m, n / of · keep]; or empty, and then
  int bits = 0;  // 2, 3, 4 or 8
  std::int64_t group = 0;  // 1 .. n
  Tensor codes;  // u8 [bytes], n:m: [m, bytes]; each row a bit stream as in PackedInt that begins at a byte
  Tensor scale;  // f32 or f16 [m, G], G = ceil(n / group)
  Tensor zero;  // u8 [m, G]
  Tensor group_of;  // i32 [n], or empty
  std::int64_t groups() const { return (cols + group - 1) / group; }
};

// The matrix for strip products. Checks everything about the parts: Error(input) naming `where` and the tensor.
class SparseSource final : public StripSource {
 public:
  SparseSource(SparseMatrix, std::string_view where);
  const SparseMatrix& matrix() const { return w_; }
  SparseSource to(Device) const;
  std::span<const std::int64_t> begins() const { return begin_; }
  std::int64_t in_features() const override { return w_.cols; }
  void expand(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const override;
  void expand(std::int64_t row, std::int64_t col, std::int64_t n, double* to) const override;

 private:
  std::int64_t rank(std::int64_t row, std::int64_t col) const;  // kept weights of the row before that column
  void expand_values(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const;
  void expand_codes(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const;
  const std::uint8_t* mask(std::int64_t row) const { return w_.mask.data<std::uint8_t>().data() + row * mask_bytes_; }

  SparseMatrix w_;
  std::int64_t mask_bytes_ = 0;
  std::vector<std::int64_t> begin_;  // [m + 1]: where a row begins in `values`, or in `codes` in bytes
};

// y[T, |rows|] = beta·y + act(x[T, n] · W[rows]ᵀ + bias); few rows of x read the stored weights once, in place.
void sparse_product(const SparseSource&, const ConstView& x, Rows, const View& y, const Epilogue&, Compute);

// The mask u8 [m, ceil(n / 8)] of a dense float matrix's non-zeros; in n:m the first zeros of a group with too many are
// kept too. Empty where a group has more non-zeros than it may keep, or the pattern does not divide the columns.
Tensor kept_mask(const Tensor& dense, KeptPattern);
// The kept weights of a dense f32, f16 or bf16 matrix; of a grid matrix, with the order of its codes undone.
SparseMatrix keep_values(const Tensor& dense, const Tensor& mask, KeptPattern);
SparseMatrix keep_codes(const PackedInt&, const Tensor& mask, KeptPattern);

}  // namespace sinter
