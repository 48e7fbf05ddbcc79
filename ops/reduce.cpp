#include "ops/reduce.h"

#include <cmath>
#include <numeric>

#include "ops/operands.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

// Σ f(x_i) in f64, in eight interleaved sums that the compiler keeps in vectors.
template <class T, class F>
double sum_of(const T* x, std::int64_t n, F f) {
  constexpr std::int64_t kLanes = 8;
  double lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) lane[j] += f(double(x[i + j]));
  for (; i < n; ++i) lane[i % kLanes] += f(double(x[i]));
  return std::accumulate(lane, lane + kLanes, 0.0);
}

template <class T, class F>
double ordered_sum_of(const Tensor& x, F f) {
  const T* in = x.data<T>().data();
  return ordered_sum(x.numel(), [&](std::int64_t b, std::int64_t e) { return sum_of(in + b, e - b, f); });
}

void sum_cpu(const Tensor& x, double s, Tensor& y) {
  visit_float(x.dtype(), "sum",
              [&]<class T>() { y.mutable_data<T>()[0] = T(s * ordered_sum_of<T>(x, [](double v) { return v; })); });
}

void sum_sq_cpu(const Tensor& x, Tensor& y) {
  visit_float(x.dtype(), "sum_sq",
              [&]<class T>() { y.mutable_data<T>()[0] = T(ordered_sum_of<T>(x, [](double v) { return v * v; })); });
}

void sum_backward_cpu(const Tensor& dy, double s, Tensor& dx) {
  visit_float(dy.dtype(), "sum_backward",
              [&]<class T>() { map_all<T>(dx, [g = T(s * dy.data<T>()[0])] { return g; }); });
}

void sum_sq_backward_cpu(const Tensor& x, const Tensor& dy, Tensor& dx) {
  visit_float(dy.dtype(), "sum_sq_backward", [&]<class T>() {
    map_all<T>(
        dx, [g = 2 * dy.data<T>()[0]](T v) { return g * v; }, x);
  });
}

struct SavedShape {
  Shape x;
  Cotangents<1> spread(const Tensor& dy, double s) const {
    Tensor dx = Tensor::empty(x, dy.dtype(), dy.device());
    sum_backward_kernel(dy.device(), dy, s, dx);
    return {dx};
  }
};

struct SumOp {
  static constexpr std::string_view name = "sum";
  static constexpr std::size_t arity = 1;
  using Saved = SavedShape;
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return s.spread(dy, 1); }
};

struct MeanOp {
  static constexpr std::string_view name = "mean";
  static constexpr std::size_t arity = 1;
  using Saved = SavedShape;
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) {
    return s.spread(dy, 1.0 / double(s.x.numel()));
  }
};

struct SumSqOp {
  static constexpr std::string_view name = "sum_sq";
  static constexpr std::size_t arity = 1;
  struct Saved {
    Tensor x;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) {
    Tensor dx = empty_like(s.x);
    sum_sq_backward_kernel(dy.device(), s.x, dy, dx);
    return {dx};
  }
};

Tensor summed(std::string_view op, const Tensor& x, double s) {
  require_alike(op, x);
  Tensor y = Tensor::empty({1}, x.dtype(), x.device());
  sum_kernel(x.device(), x, s, y);
  return y;
}

// The first k indices in descending order of value, lower indices first.
template <class T>
std::vector<std::int64_t> first_k(std::span<const T> row, std::int64_t k) {
  std::vector<std::int64_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  const auto key = [row](std::int64_t i) {
    const auto v = to_float(row[std::size_t(i)]);
    return std::isnan(v) ? decltype(v)(-INFINITY) : v;
  };
  const auto before = [&key](std::int64_t a, std::int64_t b) {
    const auto x = key(a), y = key(b);
    return x != y ? x > y : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
  order.resize(std::size_t(k));
  return order;
}

}  // namespace

constinit KernelSlot<void(const Tensor&, double, Tensor&)> sum_kernel{"sum", sum_cpu};
constinit KernelSlot<void(const Tensor&, Tensor&)> sum_sq_kernel{"sum_sq", sum_sq_cpu};
constinit KernelSlot<void(const Tensor&, double, Tensor&)> sum_backward_kernel{"sum_backward", sum_backward_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, Tensor&)> sum_sq_backward_kernel{"sum_sq_backward",
                                                                                         sum_sq_backward_cpu};

Var sum(const Var& x) { return record<SumOp>({x}, summed(SumOp::name, x.value(), 1), {x.shape()}); }

Var mean(const Var& x) {
  const std::int64_t n = x.shape().numel();
  require(n > 0, ErrorCode::shape, MeanOp::name, "of no elements");
  return record<MeanOp>({x}, summed(MeanOp::name, x.value(), 1.0 / double(n)), {x.shape()});
}

Var sum_sq(const Var& x) {
  require_alike(SumSqOp::name, x.value());
  Tensor y = Tensor::empty({1}, x.value().dtype(), x.value().device());
  sum_sq_kernel(y.device(), x.value(), y);
  return record<SumSqOp>({x}, std::move(y), {x.value()});
}

std::int64_t argmax(const Tensor& row) {
  require(row && row.numel() > 0, ErrorCode::shape, "argmax", "of no elements");
  return visit_stored(row.dtype(), "argmax", [&]<class T>() {
    const auto v = row.data<T>();
    std::size_t best = 0;
    for (std::size_t i = 1; i < v.size(); ++i)
      if (to_float(v[i]) > to_float(v[best]) || std::isnan(to_float(v[best]))) best = i;
    return std::isnan(to_float(v[best])) ? 0 : std::int64_t(best);
  });
}

std::vector<std::int64_t> top_k(const Tensor& row, std::int64_t k) {
  require(bool(row) && k >= 0, ErrorCode::shape, "top_k", "k = ", k);
  return visit_stored(row.dtype(), "top_k",
                      [&]<class T>() { return first_k(row.data<T>(), std::min(k, row.numel())); });
}

}  // namespace sinter
