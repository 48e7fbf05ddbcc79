#include "ops/linalg.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "ops/gemm.h"

namespace sinter {
namespace {

constexpr std::int64_t kBlock = 128;  // columns that are factored or inverted at once
constexpr std::int64_t kStrip = 256;  // rows of one product
constexpr std::int64_t kGramTile = 256;

// A diagonal tile in f64, rows kBlock apart.
using DiagonalTile = std::vector<double>;

// In place: a (upper triangle) -> Lᵀ (upper triangle), row by row; false when a is not positive definite.
bool factor_tile(DiagonalTile& a, std::int64_t size) {
  constexpr std::int64_t kLanes = 8;  // whole lanes: what they touch left of the diagonal is never read
  for (std::int64_t j = 0; j < size; ++j) {
    double* const row = &a[std::size_t(j * kBlock)];
    if (!(row[j] > 0) || !std::isfinite(row[j])) return false;
    const double d = std::sqrt(row[j]);
    for (std::int64_t k = j; k < size; ++k) row[k] /= d;
    for (std::int64_t i = j + 1; i < size; ++i) {
      double* const below = &a[std::size_t(i * kBlock)];
      const double f = row[i];
      for (std::int64_t k = i / kLanes * kLanes; k < kBlock; k += kLanes)
        for (std::int64_t lane = 0; lane < kLanes; ++lane) below[k + lane] -= f * row[k + lane];
    }
  }
  return true;
}

// X = L⁻¹ by rows: X_i = (e_i − Σ_{k<i} L_ik X_k) / L_ii. l is lower, rows kBlock apart.
DiagonalTile inverse_tile(const DiagonalTile& l, std::int64_t size) {
  DiagonalTile x(l.size(), 0.);
  for (std::int64_t i = 0; i < size; ++i) {
    double* const row = &x[std::size_t(i * kBlock)];
    for (std::int64_t k = 0; k < i; ++k) {
      const double f = l[std::size_t(i * kBlock + k)];
      const double* const above = &x[std::size_t(k * kBlock)];
      for (std::int64_t j = 0; j <= k; ++j) row[j] -= f * above[j];
    }
    const double d = l[std::size_t(i * kBlock + i)];
    row[i] = 1;
    for (std::int64_t j = 0; j <= i; ++j) row[j] /= d;
  }
  return x;
}

template <class T>
struct Square {  // row-major [n, n]
  T* data;
  std::int64_t n;
  T& operator()(std::int64_t i, std::int64_t j) const { return data[i * n + j]; }
};

// The lower triangle of the tile at c, times sign; transposed if asked.
template <class T>
DiagonalTile read_tile(Square<T> a, std::int64_t c, std::int64_t size, double sign, Trans trans) {
  DiagonalTile t(std::size_t(kBlock * kBlock), 0.);
  for (std::int64_t i = 0; i < size; ++i)
    for (std::int64_t j = 0; j <= i; ++j)
      t[std::size_t(trans == Trans::no ? i * kBlock + j : j * kBlock + i)] = sign * double(a(c + i, c + j));
  return t;
}

// −L⁻¹ as a [size, size] tensor, the factor that turns a column of blocks into its solution.
template <class T>
Tensor negated(const DiagonalTile& x, std::int64_t size) {
  Tensor t = Tensor::empty({size, size}, dtype_of<T>);
  const auto out = t.mutable_data<T>();
  for (std::int64_t i = 0; i < size; ++i)
    for (std::int64_t j = 0; j < size; ++j) out[std::size_t(i * size + j)] = T(-x[std::size_t(i * kBlock + j)]);
  return t;
}

View block_of(Tensor& a, std::int64_t r0, std::int64_t r1, std::int64_t c0, std::int64_t c1) {
  return View(a).row_range(r0, r1).col_range(c0, c1);
}

template <class T>
Tensor copy_of(const ConstView& v) {
  Tensor t = Tensor::empty({v.rows(), v.cols()}, dtype_of<T>);
  const auto out = t.mutable_data<T>();
  for (std::int64_t i = 0; i < v.rows(); ++i) std::ranges::copy(v.row<T>(i), out.begin() + i * v.cols());
  return t;
}

// rows begin..n in strips, in parallel
void over_strips(std::int64_t begin, std::int64_t n, const std::function<void(std::int64_t, std::int64_t)>& f) {
  parallel_for(n - begin, kStrip, [&](std::int64_t b, std::int64_t e) { f(begin + b, begin + e); });
}

// Left-looking, on N = −a, because a product can be added but not subtracted. For each column of blocks k:
//   N_ik += Σ_{j<k} L_ij L_kjᵀ,  L_kk = chol(−N_kk),  L_ik = N_ik (−L_kk⁻¹)ᵀ
template <class T>
bool cholesky_in_place(Tensor& a) {
  const std::int64_t n = a.shape()[0];
  const Square<T> A{a.mutable_data<T>().data(), n};
  over_strips(0, n, [&](std::int64_t b, std::int64_t e) {
    for (std::int64_t i = b; i < e; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) A(i, j) = -A(i, j);
      std::fill(&A(i, 0) + i + 1, &A(i, 0) + n, T(0));
    }
  });
  for (std::int64_t c0 = 0; c0 < n; c0 += kBlock) {
    const std::int64_t c1 = std::min(n, c0 + kBlock), size = c1 - c0;
    if (c0 > 0)
      over_strips(c0, n, [&](std::int64_t r0, std::int64_t r1) {
        gemm(block_of(a, r0, r1, 0, c0), Trans::no, block_of(a, c0, c1, 0, c0), Trans::yes, block_of(a, r0, r1, c0, c1),
             {.beta = 1});
      });
    DiagonalTile upper = read_tile(A, c0, size, -1, Trans::yes);
    if (!factor_tile(upper, size)) return false;
    for (std::int64_t i = 0; i < size; ++i)
      for (std::int64_t j = 0; j < size; ++j) A(c0 + i, c0 + j) = j <= i ? T(upper[std::size_t(j * kBlock + i)]) : T(0);
    const Tensor solve = negated<T>(inverse_tile(read_tile(A, c0, size, 1, Trans::no), size), size);
    over_strips(c1, n, [&](std::int64_t r0, std::int64_t r1) {
      const View here = block_of(a, r0, r1, c0, c1);
      gemm(copy_of<T>(here), Trans::no, solve, Trans::yes, here);
    });
  }
  return true;
}

// From the last column of blocks to the first, with X the inverse below and right of it:
//   X_jj = L_jj⁻¹,  X_ij = X_i,j+1.. L_j+1..,j (−X_jj)
template <class T>
void invert_in_place(Tensor& a) {
  const std::int64_t n = a.shape()[0];
  const Square<T> A{a.mutable_data<T>().data(), n};
  for (std::int64_t c0 = (n - 1) / kBlock * kBlock; c0 >= 0; c0 -= kBlock) {
    const std::int64_t c1 = std::min(n, c0 + kBlock), size = c1 - c0;
    const DiagonalTile x = inverse_tile(read_tile(A, c0, size, 1, Trans::no), size);
    const Tensor solve = negated<T>(x, size);
    const Tensor column = copy_of<T>(block_of(a, c1, n, c0, c1));
    over_strips(c1, n, [&](std::int64_t r0, std::int64_t r1) {
      const Tensor sum = matmul(block_of(a, r0, r1, c1, r1), Trans::no, column.rows(0, r1 - c1), Trans::no);
      gemm(sum, Trans::no, solve, Trans::no, block_of(a, r0, r1, c0, c1));
    });
    for (std::int64_t i = 0; i < size; ++i)
      for (std::int64_t j = 0; j < size; ++j) A(c0 + i, c0 + j) = T(x[std::size_t(i * kBlock + j)]);
  }
}

void check_square(std::string_view where, const Tensor& a) {
  require(a && a.shape().rank() == 2 && a.shape()[0] == a.shape()[1], ErrorCode::shape, where, a.shape(),
          " is not a square matrix");
}
Tensor owned(Tensor a) { return a.sole_owner() ? std::move(a) : a.clone(); }

// J a J: both orders of indices reversed, which is the whole array reversed.
template <class T>
void flip(Tensor& a) {
  std::ranges::reverse(a.mutable_data<T>());
}

}  // namespace

std::optional<Tensor> cholesky(Tensor a) {
  check_square("cholesky", a);
  a = owned(std::move(a));
  const bool definite = visit_float(a.dtype(), "cholesky", [&]<class T>() { return cholesky_in_place<T>(a); });
  if (!definite) return std::nullopt;
  return a;
}

Tensor inverse_lower(Tensor l) {
  check_square("inverse_lower", l);
  l = owned(std::move(l));
  visit_float(l.dtype(), "inverse_lower", [&]<class T>() { invert_in_place<T>(l); });
  return l;
}

std::optional<Tensor> inverse_factor(Tensor a) {
  check_square("inverse_factor", a);
  a = owned(std::move(a));
  const bool definite = visit_float(a.dtype(), "inverse_factor", [&]<class T>() {
    flip<T>(a);
    if (!cholesky_in_place<T>(a)) return false;
    invert_in_place<T>(a);
    flip<T>(a);
    return true;
  });
  if (!definite) return std::nullopt;
  return a;
}

// Tiles on and above the diagonal are products; what lies below the diagonal is copied from above it.
void add_gram(Tensor& gram, const Tensor& x) {
  check_square("add_gram", gram);
  const std::int64_t n = gram.shape()[0], tiles = (n + kGramTile - 1) / kGramTile;
  require(x && x.shape().rank() == 2 && x.shape()[1] == n, ErrorCode::shape, "add_gram", "inputs ", x.shape(),
          " for a ", gram.shape(), " matrix");
  const ConstView X(x);
  visit_float(gram.dtype(), "add_gram", [&]<class T>() {
    const Square<T> G{gram.mutable_data<T>().data(), n};
    parallel_for(tiles * tiles, 1, [&](std::int64_t t, std::int64_t) {
      const std::int64_t down = t / tiles, across = t % tiles;
      if (down > across) return;
      const std::int64_t i0 = down * kGramTile, i1 = std::min(n, i0 + kGramTile);
      const std::int64_t j0 = across * kGramTile, j1 = std::min(n, j0 + kGramTile);
      gemm(X.col_range(i0, i1), Trans::yes, X.col_range(j0, j1), Trans::no, block_of(gram, i0, i1, j0, j1),
           {.beta = 1});
      for (std::int64_t i = i0; i < i1; ++i)
        for (std::int64_t j = std::max(j0, i + 1); j < j1; ++j) G(j, i) = G(i, j);
    });
  });
}

}  // namespace sinter
