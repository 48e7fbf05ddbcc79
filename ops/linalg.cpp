#include "ops/linalg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "ops/cached_product.h"
#include "ops/outer_sum.h"
#include "ops/transpose.h"

namespace sinter {
namespace {

constexpr std::int64_t kPanel = 256;  // columns that are factored before the rest is updated
constexpr std::int64_t kLeaf = 32;  // columns that are factored or inverted at once
constexpr std::int64_t kStrip = kPanelCols;  // rows of a panel that a thread solves
constexpr std::int64_t kGramRows = 256;  // of x between two additions to a Gram matrix: long sums lose more digits
constexpr std::int64_t kInverseRows = 256;  // of an inverse that a thread works on

// A diagonal tile in f64, rows kLeaf apart; the lower triangle counts.
using Leaf = std::array<double, std::size_t(kLeaf* kLeaf)>;

// In place: t = Aᵀ -> Rᵀ with A = R Rᵀ, R upper, from the last row to the first; false when A is not positive definite.
bool factor_leaf(Leaf& t, std::int64_t size) {
  constexpr std::int64_t kLanes = 8;  // whole lanes: what they touch right of the diagonal is never read
  for (std::int64_t j = size - 1; j >= 0; --j) {
    double* const row = &t[std::size_t(j * kLeaf)];
    if (!(row[j] > 0) || !std::isfinite(row[j])) return false;
    const double d = std::sqrt(row[j]);
    for (std::int64_t k = 0; k <= j; ++k) row[k] /= d;
    for (std::int64_t i = 0; i < j; ++i) {
      double* const above = &t[std::size_t(i * kLeaf)];
      const double f = row[i];
      for (std::int64_t k = 0; k <= i; k += kLanes)
        for (std::int64_t lane = 0; lane < kLanes; ++lane) above[k + lane] -= f * row[k + lane];
    }
  }
  return true;
}

// Y = L⁻¹ by rows: Y_i = (e_i − Σ_{k<i} L_ik Y_k) / L_ii.
Leaf inverse_leaf(const Leaf& l, std::int64_t size) {
  Leaf y{};
  for (std::int64_t i = 0; i < size; ++i) {
    double* const row = &y[std::size_t(i * kLeaf)];
    for (std::int64_t k = 0; k < i; ++k) {
      const double f = l[std::size_t(i * kLeaf + k)];
      const double* const above = &y[std::size_t(k * kLeaf)];
      for (std::int64_t j = 0; j <= k; ++j) row[j] -= f * above[j];
    }
    const double d = l[std::size_t(i * kLeaf + i)];
    row[i] = 1;
    for (std::int64_t j = 0; j <= i; ++j) row[j] /= d;
  }
  return y;
}

// The transpose of an upper tile, times sign.
template <class T>
Leaf read_leaf(const T* a, std::int64_t lda, std::int64_t size, double sign) {
  Leaf t{};
  for (std::int64_t i = 0; i < size; ++i)
    for (std::int64_t j = i; j < size; ++j) t[std::size_t(j * kLeaf + i)] = sign * double(a[i * lda + j]);
  return t;
}

// Columns k0 .. k0 + size of the matrix N = −A, because a product can be added but not subtracted. From the last leaf
// of columns s to the first, with t the columns right of it, for all rows i above:
//   N_is += Σ_t R_it R_stᵀ,  R_ss from −N_ss = R_ss R_ssᵀ,  R_is = N_is (−R_ss⁻ᵀ)
// `solver` [size, size], kPanel apart, holds the right-hand factors: R_stᵀ at (t, s), −R_ss⁻ᵀ at (s, s).
template <class T>
class Panel {
 public:
  Panel(T* a, std::int64_t n, std::int64_t k0)
      : a_(a),
        n_(n),
        k0_(k0),
        size_(std::min(kPanel, n - k0)),
        solver_(Tensor::zeros({kPanel, kPanel}, dtype_of<T>)),
        S_(solver_.mutable_data<T>().data()) {}
  std::int64_t size() const { return size_; }

  // The rows k0 .. k0 + size, on this thread.
  bool factor_corner() {
    Tensor buffer = Tensor::zeros({size_, kPanel}, dtype_of<T>);
    T* const b = buffer.mutable_data<T>().data();
    for (std::int64_t i = 0; i < size_; ++i) std::copy_n(at(k0_ + i) + i, size_ - i, b + i * kPanel + i);
    for (std::int64_t s = (size_ - 1) / kLeaf * kLeaf; s >= 0; s -= kLeaf) {
      const std::int64_t w = width(s);
      add_later(b, s + w, s);
      Leaf leaf = read_leaf(b + s * kPanel + s, kPanel, w, -1);
      if (!factor_leaf(leaf, w)) return false;
      const Leaf inverse = inverse_leaf(leaf, w);
      for (std::int64_t p = 0; p < w; ++p)
        for (std::int64_t c = 0; c <= p; ++c) {
          b[(s + c) * kPanel + s + p] = T(leaf[std::size_t(p * kLeaf + c)]);
          S_[(s + p) * kPanel + s + c] = T(-inverse[std::size_t(p * kLeaf + c)]);
        }
      solve(b, s, s);
      copy_transposed(b + s, kPanel, s, w, S_ + s * kPanel, kPanel);
    }
    for (std::int64_t i = 0; i < size_; ++i) std::copy_n(b + i * kPanel + i, size_ - i, at(k0_ + i) + i);
    return true;
  }

  // kStrip rows from r0 on, above the corner; their transpose [size, kStrip] goes to `panel`.
  void solve_strip(std::int64_t r0, T* panel) const {
    Tensor buffer = Tensor::empty({kStrip, kPanel}, dtype_of<T>);
    T* const b = buffer.mutable_data<T>().data();
    for (std::int64_t r = 0; r < kStrip; ++r) std::copy_n(at(r0 + r), size_, b + r * kPanel);
    for (std::int64_t s = (size_ - 1) / kLeaf * kLeaf; s >= 0; s -= kLeaf) {
      add_later(b, kStrip, s);
      solve(b, kStrip, s);
    }
    for (std::int64_t r = 0; r < kStrip; ++r) std::copy_n(b + r * kPanel, size_, at(r0 + r));
    copy_transposed(b, kPanel, kStrip, size_, panel, kStrip);
  }

 private:
  T* at(std::int64_t row) const { return a_ + row * n_ + k0_; }
  std::int64_t width(std::int64_t s) const { return std::min(kLeaf, size_ - s); }
  void add_later(T* b, std::int64_t rows, std::int64_t s) const {
    const std::int64_t end = s + width(s);
    if (end < size_)
      cached_product(rows, end - s, size_ - end, CachedFactor<T>{b + end, kPanel, 1}, S_ + end * kPanel + s, kPanel,
                     b + s, kPanel, true);
  }
  void solve(T* b, std::int64_t rows, std::int64_t s) const {
    const std::int64_t w = width(s);
    std::array<T, std::size_t(kPanel * kLeaf)> right;
    for (std::int64_t r = 0; r < rows; ++r) std::copy_n(b + r * kPanel + s, w, &right[std::size_t(r * kLeaf)]);
    cached_product(rows, w, w, CachedFactor<T>{right.data(), kLeaf, 1}, S_ + s * kPanel + s, kPanel, b + s, kPanel,
                   false);
  }

  T* a_;
  std::int64_t n_, k0_, size_;
  Tensor solver_;
  T* S_;
};

// Above the diagonal, minus what stands below it; on it, minus `diagonal`.
template <class T>
void negate_upwards(T* a, std::int64_t n, std::span<const double> diagonal) {
  constexpr std::int64_t kRows = 16;
  parallel_for(n, kRows, [&](std::int64_t i0, std::int64_t i1) {
    for (std::int64_t i = i0; i < i1; ++i) {
      a[i * n + i] = -T(diagonal[std::size_t(i)]);
      for (std::int64_t j = i + 1; j < i1; ++j) a[i * n + j] = -a[j * n + i];
    }
    copy_transposed(a + i1 * n + i0, n, n - i1, i1 - i0, a + i0 * n + i1, n, std::negate<T>());
  });
}

// Panel by panel: corner, the rows above it, and N += R_panel R_panelᵀ for what is left.
template <class T>
bool factor_in_place(T* a, std::int64_t n, std::span<const double> diagonal) {
  negate_upwards(a, n, diagonal);
  Tensor transposed = Tensor::empty({n, kPanel}, dtype_of<T>);
  T* const panels = transposed.mutable_data<T>().data();
  for (std::int64_t k0 = (n - 1) / kPanel * kPanel; k0 >= 0; k0 -= kPanel) {
    Panel<T> panel(a, n, k0);
    if (!panel.factor_corner()) return false;
    parallel_for(k0 / kStrip, 1, [&](std::int64_t strip, std::int64_t) {
      panel.solve_strip(strip * kStrip, panels + strip * kStrip * panel.size());
    });
    add_outer_sum(a, n, k0, panels, panel.size(), false);
  }
  return true;
}

// In place, from the first leaf of columns to the last, with X the inverse left of it:
//   X_jj = R_jj⁻¹,  X_ij = X_i,i..j−1 R_i..j−1,j (−X_jj)
template <class T>
void invert_in_place(T* a, std::int64_t n) {
  for (std::int64_t c0 = 0; c0 < n; c0 += kLeaf) {
    const std::int64_t w = std::min(kLeaf, n - c0);
    const Leaf y = inverse_leaf(read_leaf(a + c0 * n + c0, n, w, 1), w);
    std::array<T, std::size_t(kLeaf * kLeaf)> minus_x{};
    for (std::int64_t i = 0; i < w; ++i)
      for (std::int64_t j = i; j < w; ++j) minus_x[std::size_t(i * kLeaf + j)] = T(-y[std::size_t(j * kLeaf + i)]);
    std::vector<T> column(std::size_t(c0 * w));
    for (std::int64_t i = 0; i < c0; ++i) std::copy_n(a + i * n + c0, w, &column[std::size_t(i * w)]);
    parallel_for(c0, kInverseRows, [&](std::int64_t r0, std::int64_t r1) {
      std::array<T, std::size_t(kInverseRows * kLeaf)> sum;
      cached_product(r1 - r0, w, c0 - r0, CachedFactor<T>{a + r0 * n + r0, n, 1}, &column[std::size_t(r0 * w)], w,
                     sum.data(), w, false);
      cached_product(r1 - r0, w, w, CachedFactor<T>{sum.data(), w, 1}, minus_x.data(), kLeaf, a + r0 * n + c0, n,
                     false);
    });
    for (std::int64_t i = 0; i < w; ++i)
      for (std::int64_t j = i; j < w; ++j) a[(c0 + i) * n + c0 + j] = -minus_x[std::size_t(i * kLeaf + j)];
  }
}

void check_square(std::string_view where, const Tensor& a) {
  require(a && a.shape().rank() == 2 && a.shape()[0] == a.shape()[1], ErrorCode::shape, where, a.shape(),
          " is not a square matrix");
}
Tensor owned(Tensor a) { return a.sole_owner() ? std::move(a) : a.clone(); }

// J a J: both orders of indices reversed, which is the whole array reversed.
Tensor flipped(Tensor a) {
  visit_float(a.dtype(), "linalg", [&]<class T>() { std::ranges::reverse(a.mutable_data<T>()); });
  return a;
}

std::vector<double> diagonal_of(const Tensor& a) {
  const std::int64_t n = a.shape()[0];
  std::vector<double> d;
  visit_float(a.dtype(), "linalg", [&]<class T>() {
    for (std::int64_t i = 0; i < n; ++i) d.push_back(double(a.data<T>()[std::size_t(i * n + i)]));
  });
  return d;
}

}  // namespace

bool upper_cholesky(Tensor& a, std::span<const double> diagonal) {
  check_square("upper_cholesky", a);
  return visit_float(a.dtype(), "upper_cholesky",
                     [&]<class T>() { return factor_in_place(a.mutable_data<T>().data(), a.shape()[0], diagonal); });
}

void clear_below_diagonal(Tensor& a) {
  check_square("clear_below_diagonal", a);
  const std::int64_t n = a.shape()[0];
  visit_float(a.dtype(), "clear_below_diagonal", [&]<class T>() {
    const auto data = a.mutable_data<T>();
    parallel_for(n, kStrip, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) std::fill_n(data.begin() + i * n, i, T(0));
    });
  });
}

std::optional<Tensor> upper_cholesky(Tensor a) {
  check_square("upper_cholesky", a);
  a = owned(std::move(a));
  if (!upper_cholesky(a, diagonal_of(a))) return std::nullopt;
  clear_below_diagonal(a);
  return a;
}

// L = J R J where J a J = R Rᵀ. What stands below a's diagonal comes to stand above it, so it is copied there first.
std::optional<Tensor> cholesky(Tensor a) {
  check_square("cholesky", a);
  a = owned(std::move(a));
  const std::int64_t n = a.shape()[0];
  visit_float(a.dtype(), "cholesky", [&]<class T>() {
    const auto A = a.mutable_data<T>();
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < i; ++j) A[std::size_t(j * n + i)] = A[std::size_t(i * n + j)];
  });
  auto r = upper_cholesky(flipped(std::move(a)));
  if (!r) return std::nullopt;
  return flipped(std::move(*r));
}

Tensor inverse_upper(Tensor r) {
  check_square("inverse_upper", r);
  r = owned(std::move(r));
  visit_float(r.dtype(), "inverse_upper",
              [&]<class T>() { invert_in_place(r.mutable_data<T>().data(), r.shape()[0]); });
  return r;
}

Tensor inverse_lower(Tensor l) {
  check_square("inverse_lower", l);
  return flipped(inverse_upper(flipped(owned(std::move(l)))));
}

std::optional<Tensor> inverse_factor(Tensor a) {
  auto r = upper_cholesky(std::move(a));
  if (!r) return std::nullopt;
  return inverse_upper(std::move(*r));
}

void add_gram(Tensor& gram, const Tensor& x) {
  check_square("add_gram", gram);
  const std::int64_t n = gram.shape()[0];
  require(x && x.shape().rank() == 2 && x.shape()[1] == n, ErrorCode::shape, "add_gram", "inputs ", x.shape(),
          " for a ", gram.shape(), " matrix");
  const std::int64_t rows = x.shape()[0];
  visit_float(gram.dtype(), "add_gram", [&]<class T>() {
    T* const G = gram.mutable_data<T>().data();
    Tensor packed = Tensor::empty({panels_of(n), std::min(kGramRows, rows), kPanelCols}, dtype_of<T>);
    T* const panels = packed.mutable_data<T>().data();
    for (std::int64_t begin = 0; begin < rows; begin += kGramRows) {
      const std::int64_t end = std::min(rows, begin + kGramRows);
      pack_panels<T>(ConstView(x).row_range(begin, end), panels);
      add_outer_sum(G, n, n, panels, end - begin, end == rows);
    }
  });
}

}  // namespace sinter
