#pragma once
#include <vector>

#include "core/view.h"
#include "ops/isa/kernels.h"
#include "ops/packed_int.h"

// Products of a few rows of x with stored weights, straight from memory: what PackedInt and SparseMatrix share.
namespace sinter {

// Up to here a product waits for the weights to come from memory, and takes them from there to the registers.
inline constexpr std::int64_t kFewDecodeRows = 8;

// Rows of W that a task takes: enough bytes for streams of memory, the same whatever the number of threads.
std::int64_t decode_grain(std::int64_t cols);

// The grids of some rows as the kernels take them: f32 scales, and padding that may be read.
class GridRows {
 public:
  GridRows(const Tensor& scale, const Tensor& zero, std::int64_t first, std::int64_t rows);
  const float* scale() const { return scale_.data(); }
  const std::uint8_t* zero() const { return zero_.data(); }

 private:
  std::vector<float> scale_;
  std::vector<std::uint8_t> zero_;
};

// x [T, n] in two digits for the codes of `bits` bits of a grid with groups of `group` columns, or kInColumnOrder.
// Compute::bf16 takes it where the kernels have it: its error is below that of rounding x to bf16.
class Digits {
 public:
  static bool fit(int bits, std::int64_t cols, std::int64_t group);
  Digits(const ConstView& x, std::int64_t group, int bits);
  const DigitRows& rows() const { return rows_; }

 private:
  Tensor digits_, scale_, sums_;
  DigitRows rows_{};
};

}  // namespace sinter
