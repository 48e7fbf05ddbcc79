#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "ops/gemm_tile.h"
#include "ops/isa/kernels.h"
#include "ops/strip_product.h"

namespace sinter {
namespace {

const std::uint16_t* row_bits(const Tensor& w, std::int64_t row, std::int64_t col) {
  return reinterpret_cast<const std::uint16_t*>(w.raw()) + row * w.shape()[1] + col;
}
void require_few(std::string_view where, const Tensor& w, const ConstView& x) {
  require(x.rows() <= kFewRows && x.dtype() == DType::f32 && info(w.dtype()).size == 2 && is_float(w.dtype()),
          ErrorCode::unsupported, where, x.rows(), " rows of ", info(x.dtype()).name, " with ", info(w.dtype()).name);
  require(w.device() == Device{}, ErrorCode::unsupported, where, "no kernel for ", w.device());
}

}  // namespace

void half_product(const Tensor& w, const ConstView& x, Rows r, const View& y, const Epilogue& e) {
  require_few("half product", w, x);
  const CpuKernels& isa = cpu_kernels();
  const auto dot = w.dtype() == DType::bf16 ? isa.dot_rows_bf16 : isa.dot_rows_f16;
  const std::int64_t in = w.shape()[1], T = x.rows();
  parallel_for(r.size(), std::max<std::int64_t>(8, (1 << 17) / in / 8 * 8), [&](std::int64_t b, std::int64_t end) {
    std::vector<float> p(std::size_t(T * (end - b)));
    dot(x.data<float>(), x.stride(), int(T), row_bits(w, r.begin + b, 0), in, end - b, in, p.data(), end - b);
    merge_tile<float>(T, end - b, p.data(), end - b, y.data<float>() + b, y.stride(),
                      tile_epilogue<float>(e, b, end - b));
  });
}

void half_product_transposed(const Tensor& w, const ConstView& dy, Rows r, const View& dx, float beta) {
  require_few("transposed half product", w, dy);
  const CpuKernels& isa = cpu_kernels();
  const auto add = w.dtype() == DType::bf16 ? isa.add_rows_bf16 : isa.add_rows_f16;
  const std::int64_t in = w.shape()[1];
  parallel_for(in, kFewRowsCols, [&](std::int64_t col, std::int64_t end) {
    start_tile(dy.rows(), end - col, dx.data<float>() + col, dx.stride(), beta);
    add(dy.data<float>(), dy.stride(), int(dy.rows()), row_bits(w, r.begin, col), in, r.size(), end - col,
        dx.data<float>() + col, dx.stride());
  });
}

}  // namespace sinter
