#include <cmath>
#include <vector>

#include "core/half.h"
#include "ops/isa/kernels.h"
#include "test/check.h"

namespace sinter {
namespace {

// Rows of which some weights are kept, and the dense ones that they stand for.
struct Pruned {
  std::int64_t rows, cols, mask_bytes = (cols + 7) / 8;
  std::vector<std::uint8_t> mask = std::vector<std::uint8_t>(std::size_t(rows * mask_bytes));
  std::vector<std::int64_t> begin{0};
  std::vector<float> kept, dense = std::vector<float>(std::size_t(rows * cols));
  Pruned(std::int64_t m, std::int64_t n, double density) : rows(m), cols(n) {
    const Rng rng{8, std::uint64_t(n)};
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      if (rng.uniform(std::uint64_t(i)) < density) {
        auto& byte = mask[std::size_t(i / cols * mask_bytes + i % cols / 8)];
        byte = std::uint8_t(byte | 1 << i % cols % 8);
        kept.push_back(to_float(to_f16(float(rng.normal(std::uint64_t(i))))));
        dense[std::size_t(i)] = kept.back();
      }
      if (i % cols == cols - 1) begin.push_back(std::int64_t(kept.size()));
    }
  }
  SparseRows sparse() const { return {mask.data(), begin.data(), mask_bytes, rows, cols}; }
};

// Σ_j x_tj·w_rj in f64 beside y; 64 bytes behind the values may be read, and mean nothing.
template <class K, class W>
void check_product(K kernel, const Pruned& p, std::vector<W> values, const std::vector<float>& w) {
  values.resize(values.size() + 64 / sizeof(W), W(0x7fff));
  for (const int T : {1, 2, 3, 4, 7}) {
    const std::int64_t ldx = p.cols + 3, ldy = p.rows + 2;
    std::vector<float> x, y(std::size_t(T * ldy), 9.f);
    for (std::int64_t i = 0; i < T * ldx; ++i) x.push_back(float(Rng{8, 1}.normal(std::uint64_t(i))));
    kernel(x.data(), ldx, T, p.sparse(), values.data(), y.data(), ldy);
    double worst = 0;
    for (std::int64_t i = 0; i < T * ldy; ++i) {
      const std::int64_t t = i / ldy, r = i % ldy;
      double s = r < p.rows ? 0 : 9;
      for (std::int64_t j = 0; r < p.rows && j < p.cols; ++j)
        s += double(x[std::size_t(t * ldx + j)]) * w[std::size_t(r * p.cols + j)];
      worst = std::max(worst, std::abs(s - y[std::size_t(i)]));
    }
    REQUIRE(worst < 5e-5);  // at most 300 terms of order 1, each rounding by 6e-8 of a sum of order 20
  }
}

}  // namespace

TEST_CASE("products with the kept weights of rows equal f64 sums, for every type, length and density") {
  for (const CpuKernels* k : supported_kernels()) {
    CAPTURE(k->name);
    for (const std::int64_t cols : {1, 7, 16, 31, 32, 33, 64, 130, 300})
      for (const double density : {0., 0.1, 0.5, 1.})
        for (const std::int64_t rows : {1, 4, 7}) {
          const Pruned p(rows, cols, density);
          std::vector<std::uint16_t> f16s, bf16s;
          std::vector<float> rounded;
          for (const float v : p.kept) f16s.push_back(to_f16(v).bits), bf16s.push_back(to_bf16(v).bits);
          for (const float v : p.dense) rounded.push_back(to_float(to_bf16(v)));
          check_product(k->dot_sparse_f32, p, p.kept, p.dense);
          check_product(k->dot_sparse_f16, p, f16s, p.dense);
          check_product(k->dot_sparse_bf16, p, bf16s, rounded);
        }
  }
}

}  // namespace sinter
