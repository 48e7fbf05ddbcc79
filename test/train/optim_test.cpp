#include <doctest/doctest.h>

#include <cmath>

#include "test/check.h"
#include "train/optim.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("the schedule warms up linearly, peaks, and decays to its floor") {
  const Schedule s{.peak = 2, .warmup = 4, .steps = 12};
  CHECK(s.at(0) == doctest::Approx(0.5));
  CHECK(s.at(3) == doctest::Approx(2));
  CHECK(s.at(4) == doctest::Approx(2));
  CHECK(s.at(8) == doctest::Approx(1));
  CHECK(s.at(12) == 0);
  const Schedule c{.decay = Schedule::Decay::cosine, .peak = 1, .floor = 0.1, .warmup = 0, .steps = 10};
  CHECK(c.at(0) == doctest::Approx(1));
  CHECK(c.at(5) == doctest::Approx(0.55));
  CHECK(c.at(10) == doctest::Approx(0.1));
  const Schedule flat{.decay = Schedule::Decay::constant, .peak = 3, .warmup = 2, .steps = 10};
  CHECK(flat.at(0) == doctest::Approx(1.5));
  for (const std::int64_t step : {1, 2, 9, 1000}) CHECK(flat.at(step) == 3);
}

TEST_CASE("AdamW's first steps are those of its formula") {
  Param p("w", Tensor::full({1, 2}, 1, DType::f32));
  AdamW adam({&p}, {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-3, .weight_decay = 0.1});
  double w = 1, m = 0, v = 0;
  for (int t = 1; t <= 5; ++t) {
    const double g = 0.5 * t;
    Grads grads;
    grads.add(p, Tensor::full({1, 2}, 2 * g, DType::f32));
    adam.step(grads, 0.01, 0.5);
    m = 0.9 * m + 0.1 * g;
    v = 0.99 * v + 0.01 * g * g;
    w -= 0.01 * (m / (1 - std::pow(0.9, t)) / (std::sqrt(v / (1 - std::pow(0.99, t))) + 1e-3) + 0.1 * w);
    CHECK(double(p.value().data<float>()[1]) == doctest::Approx(w).epsilon(1e-6));  // f32 arithmetic
  }
}

TEST_CASE("the global norm is over all gradients, and a parameter without one stays as it is") {
  Param a("a", Tensor::full({3}, 1, DType::f32)), b("b", Tensor::full({2}, 1, DType::f32));
  Grads grads;
  grads.add(a, Tensor::full({3}, 2, DType::f32));
  const std::vector<Param*> both{&a, &b};
  CHECK(global_norm(both, grads) == doctest::Approx(std::sqrt(12.0)));
  AdamW adam(both, {});
  adam.step(grads, 0.1, 1);
  CHECK(b.value().data<float>()[0] == 1);
  CHECK(a.value().data<float>()[0] < 1);
}
