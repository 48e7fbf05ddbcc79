#pragma once
#include <memory>
#include <vector>

#include "core/tape.h"
#include "test/check.h"

// The one gradient checker: f64 central differences of fourth order against the tape.
namespace sinter::test {

inline constexpr double kGradTolerance = 1e-7;  // relative; honest gradients show about 1e-11

inline Tensor bumped(const Tensor& t, std::int64_t i, double h) {
  Tensor c = t.clone();
  c.mutable_data<double>()[std::size_t(i)] += h;
  return c;
}

// f'(x) = (8·(f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))) / 12h + O(h⁴)
template <class F>
double difference(const F& f, double x) {
  const double h = 1e-3 * std::max(1.0, std::abs(x));
  return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h);
}

// The worst of |tape − differences| over all elements of all inputs, relative to the largest element of that input's
// gradient (of 1e-4, should that be smaller). `loss` maps std::vector<Var>& to a [1] Var; `at` are f64 tensors.
// A missing gradient counts as zeros, one of the wrong shape or type as infinitely wrong.
template <class F>
double grad_error(F loss, std::vector<Tensor> at) {
  std::vector<std::unique_ptr<Param>> params;
  Tape tape;
  std::vector<Var> in;
  for (const Tensor& t : at) {
    params.push_back(std::make_unique<Param>("p", t));
    in.push_back(tape.leaf(*params.back()));
  }
  const Var y = loss(in);
  const Grads grads = std::move(tape).backward(y, ones({1}));
  double worst = 0;
  for (std::size_t k = 0; k < at.size(); ++k) {
    const Tensor* g = grads.find(*params[k]);
    if (g && (g->shape() != at[k].shape() || g->dtype() != DType::f64)) return INFINITY;
    double error = 0, largest = 1e-4;
    for (std::int64_t i = 0; i < at[k].numel(); ++i) {
      const auto moved = [&](double h) {
        std::vector<Var> v(at.begin(), at.end());
        v[k] = Var(bumped(at[k], i, h));
        return value_at(loss(v).value(), 0);
      };
      const double numeric = difference(moved, value_at(at[k], i)), analytic = g ? value_at(*g, i) : 0;
      const double d = std::abs(numeric - analytic);
      error = std::isnan(d) ? INFINITY : std::max(error, d);
      largest = std::max(largest, std::abs(numeric));
    }
    worst = std::max(worst, error / largest);
  }
  return worst;
}

}  // namespace sinter::test
