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

// H in the given order with a new diagonal.
template <class T>
Tensor damped(const Tensor& gram, const std::vector<std::int64_t>& order, const std::vector<double>& diagonal) {
  const std::int64_t n = gram.shape()[0];
  Tensor h = Tensor::empty({n, n}, dtype_of<T>);
  const auto G = gram.data<T>();
  const auto H = h.mutable_data<T>();
  const auto at = [&](std::int64_t j) { return order.empty() ? j : order[std::size_t(j)]; };
  parallel_for(n, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T* const row = &G[std::size_t(at(i) * n)];
      T* const out = &H[std::size_t(i * n)];
      for (std::int64_t j = 0; j < n; ++j) out[j] = row[at(j)];
      out[i] = T(diagonal[std::size_t(at(i))]);
    }
  });
  return h;
}

std::optional<Tensor> try_factor(const Tensor& gram, const Factor& f, std::vector<double> diagonal, double mean) {
  for (double& d : diagonal) d += f.damp * mean;
  return visit_float(gram.dtype(), "factorise",
                     [&]<class T>() { return inverse_factor(damped<T>(gram, f.order, diagonal)); });
}

}  // namespace

Factor factorise(const Tensor& gram, const FactorRequest& request, std::string_view where) {
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
  if (request.act_order) {
    f.order.resize(diagonal.size());
    std::iota(f.order.begin(), f.order.end(), 0);
    std::ranges::stable_sort(f.order,
                             [&](auto a, auto b) { return diagonal[std::size_t(a)] > diagonal[std::size_t(b)]; });
  }
  for (; f.ladder <= kDampSteps; ++f.ladder) {
    if (f.ladder > 0) f.damp = f.damp > 0 ? f.damp * 10 : kFirstDamp;
    if (auto u = try_factor(gram, f, diagonal, mean)) {
      f.upper = std::move(*u);
      return f;
    }
  }
  auto u = gram.dtype() == DType::f64 ? std::nullopt : try_factor(cast(gram, DType::f64), f, diagonal, mean);
  require(u.has_value(), ErrorCode::numeric, where, "the Hessian is not positive definite, not even with damping ",
          f.damp, " in f64; the calibration data may be too short or broken");
  f.upper = cast(*u, gram.dtype());
  return f;
}

std::shared_ptr<const Factor> FactorMemo::get(const Tensor& gram, const FactorRequest& request,
                                              std::string_view where) {
  if (!factor_ || !(request == request_)) {
    factor_ = std::make_shared<const Factor>(factorise(gram, request, where));
    request_ = request;
  }
  return factor_;
}

}  // namespace sinter
