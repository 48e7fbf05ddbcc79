#include "ops/gemm.h"

#include <algorithm>

#include "core/parallel.h"
#include "ops/gemm_tile.h"

namespace sinter {
namespace {

constexpr std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

struct Tile {
  std::int64_t rows, cols;
};

// Bounds depend on the shape only, so that any number of threads gives the same bits. A tile packs its rows and columns
// anew, so there are few (a power of two, about 2^20 elements each), made by halving the longer side.
Tile tile_of(std::int64_t m, std::int64_t n, std::int64_t k, bool few, Trans tb) {
  const std::int64_t work = m * n * k;
  if (work < 100'000) return {m, n};  // 0.2 MFLOP: starting the pool would cost more
  if (few) return {m, tb == Trans::no ? kFewRowsCols : std::max<std::int64_t>(8, round_up((1 << 16) / k, 8))};
  Tile tile{m, n};
  for (std::int64_t tiles = work < 1 << 25 ? 2 : std::clamp<std::int64_t>(m * n >> 20, 4, 64); tiles > 1; tiles /= 2) {
    std::int64_t& longer = tile.rows > tile.cols ? tile.rows : tile.cols;
    longer = round_up((longer + 1) / 2, 16);
  }
  return tile;
}

template <class T>
Factor<T> factor(const ConstView& a, Trans t) {
  return {a.data<T>(), a.stride(), t};
}
// op(a) from row i on; op(b) from column j on.
template <class T>
Factor<T> from_row(Factor<T> a, std::int64_t i) {
  return {a.data + (a.trans == Trans::no ? i * a.stride : i), a.stride, a.trans};
}
template <class T>
Factor<T> from_col(Factor<T> b, std::int64_t j) {
  return {b.data + (b.trans == Trans::no ? j : j * b.stride), b.stride, b.trans};
}

void gemm_cpu(const ConstView& a, Trans ta, const ConstView& b, Trans tb, const View& c, const Epilogue& e) {
  const std::int64_t m = c.rows(), n = c.cols(), k = ta == Trans::no ? a.cols() : a.rows();
  visit_float(c.dtype(), "gemm", [&]<class T>() {
    const Factor<T> A = factor<T>(a, ta), B = factor<T>(b, tb);
    const bool few = std::is_same_v<T, float> && m <= kFewRows && ta == Trans::no;
    const Tile tile = tile_of(m, n, k, few, tb);
    const std::int64_t down = (m + tile.rows - 1) / tile.rows, across = (n + tile.cols - 1) / tile.cols;
    T* const out = c.data<T>();
    parallel_for(down * across, 1, [&](std::int64_t t, std::int64_t) {
      const std::int64_t i = t / across * tile.rows, j = t % across * tile.cols;
      const std::int64_t rows = std::min(tile.rows, m - i), cols = std::min(tile.cols, n - j);
      tile_product<T>(rows, cols, k, from_row(A, i), from_col(B, j), out + i * c.stride() + j, c.stride(),
                      tile_epilogue<T>(e, j, cols));
    });
  });
}

}  // namespace

constinit KernelSlot<void(const ConstView&, Trans, const ConstView&, Trans, const View&, const Epilogue&)> gemm_kernel{
    "gemm", gemm_cpu};

void gemm(const ConstView& a, Trans ta, const ConstView& b, Trans tb, const View& c, const Epilogue& e) {
  const auto m = ta == Trans::no ? a.rows() : a.cols(), ka = ta == Trans::no ? a.cols() : a.rows();
  const auto n = tb == Trans::no ? b.cols() : b.rows(), kb = tb == Trans::no ? b.rows() : b.cols();
  require(ka == kb, ErrorCode::shape, "gemm", "inner sizes differ: ", Shape{m, ka}, " · ", Shape{kb, n});
  require(c.rows() == m && c.cols() == n, ErrorCode::shape, "gemm", "result ", Shape{m, n}, " does not fit ",
          Shape{c.rows(), c.cols()});
  require(a.dtype() == b.dtype() && a.dtype() == c.dtype(), ErrorCode::dtype, "gemm", info(a.dtype()).name, " · ",
          info(b.dtype()).name, " into ", info(c.dtype()).name);
  require(a.device() == c.device() && b.device() == c.device(), ErrorCode::device, "gemm", a.device(), " · ",
          b.device(), " into ", c.device());
  require(!e.bias || (e.bias.numel() == n && e.bias.dtype() == c.dtype()), ErrorCode::shape, "gemm", "bias ",
          e.bias.shape(), " for ", n, " columns");
  constexpr std::int64_t kMost = 0x7fffffff;  // a BLAS counts in 32 bits
  require(std::max({m, n, ka, a.stride(), b.stride(), c.stride()}) <= kMost, ErrorCode::unsupported, "gemm",
          "a size exceeds 2^31 - 1");
  if (m > 0 && n > 0) gemm_kernel(c.device(), a, ta, b, tb, c, e);
}

Tensor matmul(const ConstView& a, Trans ta, const ConstView& b, Trans tb) {
  Tensor c = Tensor::empty({ta == Trans::no ? a.rows() : a.cols(), tb == Trans::no ? b.cols() : b.rows()}, a.dtype(),
                           a.device());
  gemm(a, ta, b, tb, c);
  return c;
}

}  // namespace sinter
