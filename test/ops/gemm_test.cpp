#include "ops/gemm.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "test/check.h"

namespace sinter {
namespace {

using test::randn;

double entry(const Tensor& a, Trans t, std::int64_t i, std::int64_t j) {
  return test::value_at(a, t == Trans::no ? i * a.shape()[1] + j : j * a.shape()[1] + i);
}

double activated(double v, Activation a) {
  switch (a) {
    case Activation::relu: return v > 0 ? v : 0;
    case Activation::gelu: return 0.5 * v * (1 + std::erf(v / std::sqrt(2.)));
    case Activation::silu: return v / (1 + std::exp(-v));
    default: return v;
  }
}

// The specification, element by element in f64.
Tensor plain(const Tensor& a, Trans ta, const Tensor& b, Trans tb, const Tensor& c, const Epilogue& e) {
  const std::int64_t m = c.shape()[0], n = c.shape()[1], k = a.shape()[ta == Trans::no ? 1 : 0];
  Tensor out = Tensor::empty({m, n}, DType::f64);
  const auto y = out.mutable_data<double>();
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double s = e.bias ? test::value_at(e.bias, j) : 0;
      for (std::int64_t l = 0; l < k; ++l) s += entry(a, ta, i, l) * entry(b, tb, l, j);
      const double old = e.beta == 0 ? 0 : double(e.beta) * test::value_at(c, i * n + j);
      y[std::size_t(i * n + j)] = old + activated(s, e.activation);
    }
  return out;
}

Tensor stored(std::int64_t rows, std::int64_t cols, Trans t, std::uint64_t stream, DType d) {
  return t == Trans::no ? randn({rows, cols}, stream, d) : randn({cols, rows}, stream, d);
}

struct Size {
  std::int64_t m, n, k;
};
// Sums of k products of standard normals: f32 rounds each of k steps by 6e-8 of a partial sum of about sqrt(k).
double tolerance(DType d, std::int64_t k) { return (d == DType::f32 ? 4e-7 : 1e-15) * double(k) + 1e-12; }

}  // namespace

TEST_CASE("a product equals its definition in both types, all orientations and shapes on both sides of every limit") {
  for (const DType d : {DType::f32, DType::f64})
    for (const Size s : {Size{1, 1, 1},
                         {1, 130, 70},
                         {3, 17, 129},
                         {8, 64, 16},
                         {32, 33, 50},
                         {33, 33, 50},
                         {65, 100, 30},
                         {200, 7, 90},
                         {130, 260, 33}})
      for (const Trans ta : {Trans::no, Trans::yes})
        for (const Trans tb : {Trans::no, Trans::yes}) {
          const auto [m, n, k] = s;
          INFO(s.m, " x ", s.n, " x ", s.k);
          const Tensor a = stored(m, k, ta, 1, d), b = stored(k, n, tb, 2, d), c = Tensor::zeros({m, n}, d);
          CHECK(test::distance(matmul(a, ta, b, tb), plain(a, ta, b, tb, c, {})) < tolerance(d, k));
        }
}

TEST_CASE("the epilogue adds the bias, activates and adds to what was there, for every activation and beta") {
  for (const DType d : {DType::f32, DType::f64})
    for (const Trans tb : {Trans::no, Trans::yes})
      for (const std::int64_t m : {2, 40})
        for (const Activation act : {Activation::none, Activation::relu, Activation::gelu, Activation::silu})
          for (const float beta : {0.f, 1.f, -0.5f}) {
            const Tensor a = randn({m, 30}, 1, d), b = stored(30, 150, tb, 2, d), bias = randn({150}, 3, d);
            Tensor c = randn({m, 150}, 4, d);
            const Epilogue e{bias, act, beta};
            const Tensor want = plain(a, Trans::no, b, tb, c, e);
            gemm(a, Trans::no, b, tb, c, e);
            CHECK(test::distance(c, want) < tolerance(d, 30));
          }
}

TEST_CASE("a beta of zero does not read the output") {
  for (const std::int64_t m : {2, 40})
    for (const Trans tb : {Trans::no, Trans::yes})
      for (const Activation act : {Activation::none, Activation::relu}) {
        Tensor c = Tensor::full({m, 20}, NAN, DType::f32);
        gemm(randn({m, 20}, 1, DType::f32), Trans::no, randn({20, 20}, 2, DType::f32), tb, c, {.activation = act});
        CHECK(std::isfinite(test::distance(c, Tensor::zeros({m, 20}, DType::f32))));
      }
}

TEST_CASE("views are read and written in place and nothing beside them is touched") {
  for (const std::int64_t m : {4, 50}) {
    const Tensor a = randn({m + 2, 40}, 1, DType::f32), b = randn({90, 40}, 2, DType::f32);
    Tensor c = Tensor::full({m, 100}, 7, DType::f32);
    gemm(ConstView(a).row_range(1, m + 1).col_range(5, 35), Trans::no, ConstView(b).col_range(5, 35), Trans::yes,
         View(c).col_range(4, 94));
    Tensor whole = Tensor::zeros({m, 90}, DType::f32);
    for (std::int64_t i = 0; i < m; ++i) {
      const auto row = View(c).row<float>(i);
      for (const std::int64_t j : {0, 1, 2, 3, 94, 95, 99}) CHECK(row[std::size_t(j)] == 7);
      for (std::int64_t j = 0; j < 90; ++j) {
        double s = 0;
        for (std::int64_t l = 5; l < 35; ++l)
          s += double(test::value_at(a, (i + 1) * 40 + l)) * test::value_at(b, j * 40 + l);
        REQUIRE(std::abs(row[std::size_t(j + 4)] - s) < tolerance(DType::f32, 30));
      }
    }
  }
}

TEST_CASE("1, 2 and 3 threads give the same bits at odd shapes") {
  for (const auto [m, n, k] : {Size{172, 172, 172},
                               {65, 1000, 300},
                               {130, 1000, 3000},
                               {172, 172, 5},
                               {1, 1000, 3000},
                               {13, 3000, 1001},
                               {1000, 20, 300}})
    for (const Trans ta : {Trans::no, Trans::yes})
      for (const Trans tb : {Trans::no, Trans::yes}) {
        const Tensor a = stored(m, k, ta, 1, DType::f32), b = stored(k, n, tb, 2, DType::f32);
        Tensor first;
        for (const int threads : {1, 2, 3}) {
          set_threads(threads);
          const Tensor c = matmul(a, ta, b, tb);
          if (!first) first = c;
          CHECK(test::same_bits(c, first));
        }
      }
  set_threads(available_cores());
}

TEST_CASE("shapes, types and the bias that do not fit are refused by name") {
  const Tensor a = randn({3, 4}, 1, DType::f32), b = randn({4, 5}, 2, DType::f32);
  Tensor c = Tensor::zeros({3, 5}, DType::f32);
  CHECK_THROWS_TEXT(shape, "gemm: inner sizes differ: [3, 4] · [5, 4]", gemm(a, Trans::no, b, Trans::yes, c));
  CHECK_THROWS_TEXT(shape, "[3, 3] does not fit [3, 5]", gemm(a, Trans::no, a, Trans::yes, c));
  CHECK_THROWS_TEXT(dtype, "f32 · f64", gemm(a, Trans::no, randn({4, 5}, 2), Trans::no, c));
  CHECK_THROWS_TEXT(shape, "bias [4]", gemm(a, Trans::no, b, Trans::no, c, {.bias = randn({4}, 1, DType::f32)}));
  CHECK_THROWS_TEXT(dtype, "needs f32 or f64",
                    matmul(Tensor::zeros({3, 4}, DType::f16), Trans::no, Tensor::zeros({4, 5}, DType::f16), Trans::no));
}

}  // namespace sinter
