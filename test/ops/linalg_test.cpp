#include "ops/linalg.h"

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "ops/gemm.h"
#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// x xᵀ + n·I for random x [n, n]: condition number below about 5.
Tensor definite(std::int64_t n, DType dtype = DType::f64) {
  const Tensor x = randn({n, n}, std::uint64_t(n));
  Tensor a = matmul(x, Trans::no, x, Trans::yes);
  const auto data = a.mutable_data<double>();
  for (std::int64_t i = 0; i < n; ++i) data[std::size_t(i * n + i)] += double(n);
  return cast(a, dtype);
}
Tensor eye(std::int64_t n) {
  Tensor t = Tensor::zeros({n, n}, DType::f64);
  for (std::int64_t i = 0; i < n; ++i) t.mutable_data<double>()[std::size_t(i * n + i)] = 1;
  return t;
}
bool triangular(const Tensor& t, bool lower) {
  const std::int64_t n = t.shape()[0];
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j)
      if ((lower ? j > i : j < i) && value_at(t, i * n + j) != 0) return false;
  return true;
}
double largest(const Tensor& t) { return distance(t, Tensor::zeros(t.shape(), t.dtype())); }

// Two factorisations and a dense inverse, as the published code does it: H⁻¹ = (L⁻¹)ᵀ L⁻¹, then its upper factor.
Tensor two_step_factor(const Tensor& h) {
  const Tensor inverse = inverse_lower(*cholesky(h));
  const Tensor l = *cholesky(matmul(inverse, Trans::yes, inverse, Trans::no));
  return matmul(l, Trans::yes, eye(h.shape()[0]), Trans::no);
}

struct Threads {
  explicit Threads(int n) { set_threads(n); }
  ~Threads() { set_threads(available_cores()); }
};

}  // namespace

TEST_CASE("Cholesky gives back its matrix below, on and above the block size") {
  for (const std::int64_t n : {1, 2, 37, 127, 128, 129, 172, 300, 520}) {
    const Tensor a = definite(n);
    const auto l = cholesky(a);
    REQUIRE(l.has_value());
    CHECK(triangular(*l, true));
    CHECK(distance(matmul(*l, Trans::no, *l, Trans::yes), a) < 1e-12 * largest(a));
    const auto single = cholesky(cast(a, DType::f32));
    REQUIRE(single.has_value());
    CHECK(distance(*single, *l) < 1e-5 * largest(*l));  // f32 rounding, about n^½ · 6e-8 of the largest
  }
}

TEST_CASE("The upper Cholesky factor gives back its matrix around the sizes of leaves, strips and panels") {
  for (const std::int64_t n : {1, 31, 32, 33, 127, 255, 256, 257, 384, 300, 530}) {
    const Tensor a = definite(n);
    const auto r = upper_cholesky(a);
    REQUIRE(r.has_value());
    CHECK(triangular(*r, false));
    CHECK(distance(matmul(*r, Trans::no, *r, Trans::yes), a) < 1e-12 * largest(a));
    CHECK(distance(*upper_cholesky(cast(a, DType::f32)), *r) < 1e-5 * largest(*r));
  }
}

TEST_CASE("A factorisation in place keeps what lies below the diagonal, so that it can be tried again") {
  for (const std::int64_t n : {5, 300, 600}) {
    const Tensor a = definite(n);
    std::vector<double> diagonal, bad;
    for (std::int64_t i = 0; i < n; ++i) diagonal.push_back(value_at(a, i * n + i));
    bad = diagonal;
    bad[1] = -1;
    Tensor mine = a.clone();
    CHECK_FALSE(upper_cholesky(mine, bad));
    CHECK(upper_cholesky(mine, diagonal));
    bool kept = true;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < i; ++j) kept &= value_at(mine, i * n + j) == value_at(a, i * n + j);
    CHECK(kept);
    clear_below_diagonal(mine);
    CHECK(same_bits(mine, *upper_cholesky(a)));
  }
}

TEST_CASE("Cholesky leaves a shared argument alone and works in place on one that nobody else holds") {
  const Tensor a = definite(40), copy = a.clone();
  CHECK(cholesky(a).has_value());
  CHECK(same_bits(a, copy));
  Tensor mine = a.clone();
  const std::byte* const at = mine.raw();
  const auto l = cholesky(std::move(mine));
  CHECK(l->raw() == at);
}

TEST_CASE("A matrix that is not positive definite or not finite has no Cholesky factor") {
  for (const std::int64_t bad : {0, 5, 130, 199}) {
    Tensor a = definite(200);
    a.mutable_data<double>()[std::size_t(bad * 200 + bad)] *= -1;
    CHECK_FALSE(cholesky(a).has_value());
    CHECK_FALSE(inverse_factor(a).has_value());
    a.mutable_data<double>()[std::size_t(bad * 200 + bad)] = NAN;
    CHECK_FALSE(cholesky(a).has_value());
  }
  Tensor nan_inside = definite(200);
  nan_inside.mutable_data<double>()[std::size_t(150 * 200 + 3)] = NAN;
  CHECK_FALSE(cholesky(nan_inside).has_value());
  CHECK_FALSE(cholesky(Tensor::zeros({3, 3}, DType::f32)).has_value());
  CHECK_THROWS_CODE(shape, cholesky(Tensor::zeros({3, 4}, DType::f32)));
}

TEST_CASE("The triangular inverse times its matrix is the identity") {
  for (const std::int64_t n : {1, 31, 128, 200, 389}) {
    const Tensor l = *cholesky(definite(n)), x = inverse_lower(l);
    CHECK(triangular(x, true));
    CHECK(distance(matmul(x, Trans::no, l, Trans::no), eye(n)) < 1e-12);
    const Tensor r = *upper_cholesky(definite(n)), u = inverse_upper(r);
    CHECK(triangular(u, false));
    CHECK(distance(matmul(u, Trans::no, r, Trans::no), eye(n)) < 1e-12);
  }
}

TEST_CASE("The flipped factor equals the two-step one, is upper triangular, and inverts the matrix (card 01.5)") {
  for (const std::int64_t n : {1, 40, 172, 300}) {
    const Tensor h = definite(n), u = *inverse_factor(h);
    CHECK(triangular(u, false));
    CHECK(distance(u, two_step_factor(h)) < 1e-10 * largest(u));
    CHECK(distance(matmul(matmul(u, Trans::yes, u, Trans::no), Trans::no, h, Trans::no), eye(n)) < 1e-10);
  }
}

TEST_CASE("The diagonal of the factor is that of the inverses of the trailing matrices") {
  const std::int64_t n = 9;
  const Tensor h = definite(n), u = *inverse_factor(h);
  for (std::int64_t j = 0; j < n; ++j) {
    Tensor rest = Tensor::empty({n - j, n - j}, DType::f64);
    const auto data = rest.mutable_data<double>();
    for (std::int64_t i = j; i < n; ++i)
      for (std::int64_t k = j; k < n; ++k) data[std::size_t((i - j) * (n - j) + k - j)] = value_at(h, i * n + k);
    const Tensor inverse = inverse_lower(*cholesky(rest));  // H⁻¹ = Xᵀ X
    double corner = 0;
    for (std::int64_t i = 0; i < n - j; ++i) corner += std::pow(value_at(inverse, i * (n - j)), 2);
    CHECK(std::pow(value_at(u, j * n + j), 2) == doctest::Approx(corner).epsilon(1e-12));
  }
}

TEST_CASE("The Gram matrix is the product, added, and bitwise symmetric") {
  for (const DType dtype : {DType::f64, DType::f32})
    for (const std::int64_t n : {1, 40, 257, 300}) {
      const Tensor x = randn({61, n}, 5, dtype), y = randn({7, n}, 6, dtype);
      Tensor gram = Tensor::zeros({n, n}, dtype);
      add_gram(gram, x);
      const Tensor first = gram.clone();
      add_gram(gram, y);
      const double eps = dtype == DType::f64 ? 1e-14 : 1e-6;  // rounding of sums of 61 and 7 terms
      CHECK(distance(first, matmul(x, Trans::yes, x, Trans::no)) < eps * largest(first));
      const Tensor more = matmul(y, Trans::yes, y, Trans::no);
      double worst = 0;
      bool symmetric = true;
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          const std::int64_t at = i * n + j;
          worst = std::max(worst, std::abs(value_at(gram, at) - value_at(first, at) - value_at(more, at)));
          symmetric &= value_at(gram, at) == value_at(gram, j * n + i);
        }
      CHECK(worst < eps * largest(gram));
      CHECK(symmetric);
    }
  Tensor gram = Tensor::zeros({4, 4}, DType::f32);
  CHECK_THROWS_CODE(shape, add_gram(gram, Tensor::zeros({3, 5}, DType::f32)));
}

TEST_CASE("Factors and Gram matrices have the same bits for 1, 2 and 3 threads") {
  for (const std::int64_t n : {172, 301, 700}) {
    const Tensor h = definite(n, DType::f32), x = randn({150, n}, 9, DType::f32);
    std::vector<Tensor> factors, grams;
    for (const int threads : {1, 2, 3}) {
      const Threads set(threads);
      factors.push_back(*inverse_factor(h));
      grams.push_back(Tensor::zeros({n, n}, DType::f32));
      add_gram(grams.back(), x);
    }
    for (const std::size_t k : {1, 2}) {
      CHECK(same_bits(factors[0], factors[k]));
      CHECK(same_bits(grams[0], grams[k]));
    }
  }
}
