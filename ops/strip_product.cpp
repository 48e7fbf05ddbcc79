#include "ops/strip_product.h"

#include <algorithm>
#include <functional>

#include "core/parallel.h"
#include "ops/gemm_tile.h"
#include "ops/isa/kernels.h"

namespace sinter {
namespace {

template <class T>
std::span<T> buffer(Tensor& t, std::int64_t n) {
  t = Tensor::empty({n}, dtype_of<T>);
  return t.mutable_data<T>();
}

// Rows of W that fit a cache beside what is multiplied with them. Depends on the shape only.
std::int64_t strip_rows(std::int64_t in, std::int64_t T) {
  if (T <= kFewRows) return 8;
  return std::clamp<std::int64_t>((1 << 18) / in / 16 * 16, 32, 512);
}
// Columns of W for the transposed product, with kDeep rows at a time.
std::int64_t strip_cols(std::int64_t T) { return T <= kFewRows ? kFewRowsCols : 512; }
constexpr std::int64_t kDeep = 256, kDeepFew = 8;

// x itself, or its rounded copy, which `keeper` then holds.
const ConstView operand(const ConstView& x, Compute c, Tensor& keeper) {
  if (c == Compute::f32) return x;
  keeper = rounded_bf16(x);
  return keeper;
}

void round_in_place(std::span<float> w) { cpu_kernels().round_bf16(w.data(), w.data(), std::int64_t(w.size())); }
void round_in_place(std::span<double>) {}

// Task s of a product by rows: y[:, b..e) from rows b..e of the range.
template <class T>
void rows_task(const StripSource& w, const ConstView& x, Rows r, Rows part, const View& y, const Epilogue& e,
               Compute c) {
  const std::int64_t in = w.in_features(), strip = strip_rows(in, x.rows());
  Tensor keeper;
  const auto W = buffer<T>(keeper, std::min(strip, part.size()) * in);
  for (std::int64_t b = part.begin; b < part.end; b += strip) {
    const std::int64_t n = std::min(strip, part.end - b);
    for (std::int64_t i = 0; i < n; ++i) w.expand(r.begin + b + i, 0, in, W.data() + i * in);
    if (c == Compute::bf16) round_in_place(W.first(std::size_t(n * in)));
    tile_product<T>(x.rows(), n, in, {x.data<T>(), x.stride()}, {W.data(), in, Trans::yes}, y.data<T>() + b, y.stride(),
                    tile_epilogue<T>(e, b, n));
  }
}

// Task of a transposed product: dx[:, col..col + n), all rows of the range in order.
template <class T>
void cols_task(const StripSource& w, const ConstView& dy, Rows r, std::int64_t col, std::int64_t n, const View& dx,
               float beta, Compute c) {
  const std::int64_t deep = dy.rows() <= kFewRows ? kDeepFew : kDeep;
  Tensor keeper;
  const auto W = buffer<T>(keeper, std::min(deep, r.size()) * n);
  std::int64_t b = 0;
  do {  // once for an empty range too: beta still applies
    const std::int64_t k = std::min(deep, r.size() - b);
    for (std::int64_t i = 0; i < k; ++i) w.expand(r.begin + b + i, col, n, W.data() + i * n);
    if (c == Compute::bf16) round_in_place(W.first(std::size_t(k * n)));
    tile_product<T>(dy.rows(), n, k, {dy.data<T>() + b, dy.stride()}, {W.data(), n}, dx.data<T>() + col, dx.stride(),
                    {.beta = T(b == 0 ? beta : 1)});
    b += deep;
  } while (b < r.size());
}

// A product whose strips are too few to share out is split by the rows of x as well: unpacking a strip again costs one
// part in 2·kSplitRows. Depends on the shape only.
constexpr std::int64_t kSplitRows = 256, kEnoughStrips = 8;

// f(rows b..e of x, strip s) for all of them.
template <class F>
void for_parts(std::int64_t T, std::int64_t strips, F&& f) {
  const std::int64_t rows = strips >= kEnoughStrips ? T : std::min(T, kSplitRows), parts = (T + rows - 1) / rows;
  parallel_for(parts * strips, 1, [&](std::int64_t task, std::int64_t) {
    const std::int64_t b = task / strips * rows;
    f(b, std::min(T, b + rows), task % strips);
  });
}

void require_compute(std::string_view where, const View& y, Compute c) {
  require(c == Compute::f32 || y.dtype() == DType::f32, ErrorCode::dtype, where,
          "bf16 arithmetic needs f32 tensors, got ", info(y.dtype()).name);
}

}  // namespace

void DenseSource::expand(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const {
  visit_stored(w_.dtype(), "dense weight", [&]<class S>() {
    const S* from = w_.data<S>().data() + row * in_features() + col;
    if constexpr (std::is_same_v<S, bf16>) cpu_kernels().bf16_to_f32(to, &from->bits, n);
    else if constexpr (std::is_same_v<S, f16>) cpu_kernels().f16_to_f32(to, &from->bits, n);
    else std::copy_n(from, n, to);
  });
}
void DenseSource::expand(std::int64_t row, std::int64_t col, std::int64_t n, double* to) const {
  visit_stored(w_.dtype(), "dense weight", [&]<class S>() {
    const S* from = w_.data<S>().data() + row * in_features() + col;
    std::transform(from, from + n, to, [](S v) { return double(to_float(v)); });
  });
}

void strip_product(const StripSource& w, const ConstView& x, Rows r, const View& y, const Epilogue& e, Compute c) {
  require_compute("strip product", y, c);
  require(y.device() == Device{}, ErrorCode::unsupported, "strip product", "no kernel for ", y.device());
  if (x.rows() == 0) return;
  Tensor keeper;
  const ConstView factor = operand(x, c, keeper);
  visit_float(y.dtype(), "strip product", [&]<class T>() {
    const std::int64_t strip = strip_rows(w.in_features(), x.rows());
    const std::int64_t grain = std::max(strip, (1 << 16) / w.in_features() / strip * strip);
    for_parts(factor.rows(), (r.size() + grain - 1) / grain, [&](std::int64_t b, std::int64_t end, std::int64_t s) {
      const Rows part{s * grain, std::min(r.size(), (s + 1) * grain)};
      rows_task<T>(w, factor.row_range(b, end), r, part, y.row_range(b, end), e, c);
    });
  });
}

void strip_product_transposed(const StripSource& w, const ConstView& dy, Rows r, const View& dx, float beta,
                              Compute c) {
  require_compute("transposed strip product", dx, c);
  require(dx.device() == Device{}, ErrorCode::unsupported, "transposed strip product", "no kernel for ", dx.device());
  if (dy.rows() == 0) return;
  Tensor keeper;
  const ConstView factor = operand(dy, c, keeper);
  visit_float(dx.dtype(), "transposed strip product", [&]<class T>() {
    const std::int64_t in = w.in_features(), cols = strip_cols(dy.rows());
    for_parts(factor.rows(), (in + cols - 1) / cols, [&](std::int64_t b, std::int64_t end, std::int64_t s) {
      const std::int64_t col = s * cols, n = std::min(cols, in - col);
      cols_task<T>(w, factor.row_range(b, end), r, col, n, dx.row_range(b, end), beta, c);
    });
  });
}

Tensor rounded_bf16(const ConstView& x) {
  Tensor out = Tensor::empty({x.rows(), x.cols()}, DType::f32);
  const View to(out);
  parallel_for(x.rows(), 16, [&](std::int64_t b, std::int64_t e) {
    for (; b < e; ++b) cpu_kernels().round_bf16(to.row<float>(b).data(), x.row<float>(b).data(), x.cols());
  });
  return out;
}

}  // namespace sinter
