#include <cmath>

#include "core/view.h"
#include "ops/cross_entropy.h"
#include "ops/frozen_linear.h"
#include "ops/linear.h"

namespace sinter {
namespace {

// loss = Σ_t log Σ_v exp(x_tv) − x_t,target:  dx = dy · (softmax(x) − one-hot), 0 where the target is −1
struct NllOp {
  static constexpr std::string_view name = "nll";
  static constexpr std::size_t arity = 1;
  struct Saved {
    Tensor logits;  // [T, V]
    std::vector<std::int32_t> targets;
  };

  template <class T>
  static double log_sum(std::span<const T> x) {
    const T top = *std::ranges::max_element(x);
    double sum = 0;
    for (const T v : x) sum += std::exp(double(v) - double(top));
    return double(top) + std::log(sum);
  }
  static Tensor loss(const Saved& s) {
    return visit_float(s.logits.dtype(), name, [&]<class T>() {
      double total = 0;
      for (std::size_t t = 0; t < s.targets.size(); ++t) {
        if (s.targets[t] < 0) continue;
        const auto row = ConstView(s.logits).row<T>(std::int64_t(t));
        total += log_sum(row) - double(row[std::size_t(s.targets[t])]);
      }
      return Tensor::full({1}, total, dtype_of<T>);
    });
  }
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) {
    Tensor dx = Tensor::zeros(s.logits.shape(), s.logits.dtype());
    visit_float(s.logits.dtype(), name, [&]<class T>() {
      const double g = double(dy.data<T>()[0]);
      for (std::size_t t = 0; t < s.targets.size(); ++t) {
        if (s.targets[t] < 0) continue;
        const auto row = ConstView(s.logits).row<T>(std::int64_t(t));
        const auto to = View(dx).row<T>(std::int64_t(t));
        const double total = log_sum(row);
        for (std::size_t v = 0; v < row.size(); ++v) to[v] = T(g * std::exp(double(row[v]) - total));
        to[std::size_t(s.targets[t])] -= T(g);
      }
    });
    return {dx};
  }
};

}  // namespace

Var cross_entropy_composed(const Var& h, const HeadWeight& head, std::span<const std::int32_t> targets) {
  const Var* w = std::get_if<Var>(&head);
  const Var logits = w ? linear(h, *w) : frozen_linear(h, std::get<FrozenWeightPtr>(head));
  NllOp::Saved saved{logits.value(), {targets.begin(), targets.end()}};
  Tensor loss = NllOp::loss(saved);
  return record<NllOp>({logits}, std::move(loss), std::move(saved));
}

}  // namespace sinter
