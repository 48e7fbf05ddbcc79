#include "ops/few_rows.h"

#include <algorithm>

#include "core/parallel.h"

namespace sinter {
namespace {

constexpr std::int64_t kPadding = 16;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

}  // namespace

std::int64_t decode_grain(std::int64_t cols) { return std::max<std::int64_t>(8, (1 << 17) / cols / 8 * 8); }

GridRows::GridRows(const Tensor& scale, const Tensor& zero, std::int64_t first, std::int64_t rows) {
  const std::int64_t groups = scale.shape()[1], n = rows * groups;
  scale_.resize(std::size_t(n + kPadding));
  zero_.resize(std::size_t(n + kPadding));
  if (scale.dtype() == DType::f16)
    cpu_kernels().f16_to_f32(scale_.data(), &scale.data<f16>()[std::size_t(first * groups)].bits, n);
  else std::copy_n(scale.data<float>().data() + first * groups, n, scale_.data());
  std::copy_n(zero.data<std::uint8_t>().data() + first * groups, n, zero_.data());
}

bool Digits::fit(int bits, std::int64_t cols, std::int64_t group) {
  const std::int64_t chunk = cpu_kernels().digit_chunk(bits);
  if (chunk == 0) return false;
  if (group == cols || group % chunk == 0) return true;
  return bits != CpuKernels::kInColumnOrder && chunk % group == 0 && group % 16 == 0;
}

Digits::Digits(const ConstView& x, std::int64_t group, int bits) {
  const CpuKernels& isa = cpu_kernels();
  const std::int64_t T = x.rows(), n = x.cols(), chunk = isa.digit_chunk(bits), chunks = (n + chunk - 1) / chunk,
                     bytes = 2 * chunks * chunk, sums = round_up((n + group - 1) / group, kPadding);
  digits_ = Tensor::empty({T, bytes}, DType::u8);
  scale_ = Tensor::empty({T, chunks}, DType::f32);
  sums_ = Tensor::empty({T, sums}, DType::f32);
  rows_ = {reinterpret_cast<std::int8_t*>(digits_.mutable_data<std::uint8_t>().data()),
           scale_.mutable_data<float>().data(), sums_.mutable_data<float>().data()};
  parallel_for(T, 1, [&](std::int64_t t, std::int64_t) {
    const DigitRows row{rows_.digits + t * bytes, rows_.scale + t * chunks, rows_.group_sum + t * sums};
    isa.split_digits(x.row<float>(t).data(), n, 1, n, group, bits, row);
  });
}

}  // namespace sinter
