#include "train/compress/factor.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "ops/linalg.h"

namespace sinter {
namespace {

constexpr int kDampSteps = 3;
constexpr double kFirstDamp = 1e-4;  // what follows a damping of 0
constexpr std::int64_t kRows = 64;

std::vector<double> checked_diagonal(const Tensor& gram, std::string_view where) {
  const std::int64_t n = gram.shape()[0];
  std::vector<double> d(static_cast<std::size_t>(n));
  visit_float(gram.dtype(), where, [&]<class T>() {
    const auto G = gram.data<T>();
    for (std::int64_t j = 0; j < n; ++j) {
      d[std::size_t(j)] = double(G[std::size_t(j * n + j)]);
      require(std::isfinite(d[std::size_t(j)]), ErrorCode::numeric, where, "the calibration inputs of column ", j,
              " are not finite");
    }
  });
  return d;
}

// Rows and columns of a, in place: entry (i, j) becomes the one at (order[i], order[j]).
template <class T>
void reorder(std::span<T> a, const std::vector<std::int64_t>& order) {
  const auto n = std::int64_t(order.size());
  parallel_for(n, kRows, [&](std::int64_t begin, std::int64_t end) {
    std::vector<T> row(order.size());
    for (std::int64_t i = begin; i < end; ++i) {
      T* const at = &a[std::size_t(i * n)];
      std::copy_n(at, n, row.begin());
      for (std::int64_t j = 0; j < n; ++j) at[j] = row[std::size_t(order[std::size_t(j)])];
    }
  });
  std::vector<T> first(order.size());
  std::vector<bool> placed(order.size());
  for (std::int64_t start = 0; start < n; ++start) {  // along each cycle of rows
    if (placed[std::size_t(start)]) continue;
    std::copy_n(&a[std::size_t(start * n)], n, first.begin());
    for (std::int64_t to = start;;) {
      placed[std::size_t(to)] = true;
      const std::int64_t from = order[std::size_t(to)];
      const T* const source = from == start ? first.data() : &a[std::size_t(from * n)];
      std::copy_n(source, n, &a[std::size_t(to * n)]);
      if (from == start) break;
      to = from;
    }
  }
}

// The diagonal of the damped matrix, in its order.
std::vector<double> damped(const Factor& f, const std::vector<double>& diagonal, double mean) {
  std::vector<double> d;
  for (std::size_t j = 0; j < diagonal.size(); ++j)
    d.push_back(diagonal[f.order.empty() ? j : std::size_t(f.order[j])] + f.damp * mean);
  return d;
}

}  // namespace

Factor factorise(Tensor gram, const FactorRequest& request, std::string_view where) {
  require(request.damp >= 0 && std::isfinite(request.damp), ErrorCode::usage, where, "damping ", request.damp,
          " is not a share of the diagonal");
  std::vector<double> diagonal = checked_diagonal(gram, where);
  Factor f;
  f.damp = request.damp;
  for (std::size_t j = 0; j < diagonal.size(); ++j)
    if (diagonal[j] == 0) {
      f.dead.push_back(std::int64_t(j));
      diagonal[j] = 1;
    }
  const double mean = std::accumulate(diagonal.begin(), diagonal.end(), 0.) / double(diagonal.size());
  f.root = gram.sole_owner() ? std::move(gram) : gram.clone();
  if (request.act_order) {
    f.order.resize(diagonal.size());
    std::iota(f.order.begin(), f.order.end(), 0);
    std::ranges::stable_sort(f.order,
                             [&](auto a, auto b) { return diagonal[std::size_t(a)] > diagonal[std::size_t(b)]; });
    visit_float(f.root.dtype(), where, [&]<class T>() { reorder(f.root.mutable_data<T>(), f.order); });
  }
  bool definite = false;
  for (;; ++f.ladder) {
    if (f.ladder > 0) f.damp = f.damp > 0 ? f.damp * 10 : kFirstDamp;
    definite = upper_cholesky(f.root, damped(f, diagonal, mean));
    if (definite || f.ladder == kDampSteps) break;
  }
  if (!definite && f.root.dtype() != DType::f64 && request.f64) {
    f.ladder = kDampSteps + 1;
    Tensor wide = cast(f.root, DType::f64);  // what a failure leaves below the diagonal is H
    definite = upper_cholesky(wide, damped(f, diagonal, mean));
    f.root = cast(wide, f.root.dtype());
  }
  require(definite, ErrorCode::numeric, where, "the Hessian is not positive definite, not even with damping ", f.damp,
          request.f64 ? " in f64" : "", "; the calibration data may be too short or broken");
  clear_below_diagonal(f.root);
  return f;
}

std::shared_ptr<const Factor> FactorMemo::get(Tensor gram, const FactorRequest& request, std::string_view where) {
  if (!factor_ || !(request == request_)) {
    factor_ = std::make_shared<const Factor>(factorise(std::move(gram), request, where));
    request_ = request;
  }
  return factor_;
}

}  // namespace sinter
