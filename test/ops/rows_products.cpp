#include "ops/frozen_linear.h"
#include "ops/linear.h"
#include "ops/spp.h"
#include "test/check.h"
#include "test/ops/op_table.h"
#include "test/ops/plain_weight.h"

namespace sinter::test {
namespace {

using Vars = std::span<const Var>;

// Sums of up to 307 products taken in turn: partial sums average half of the final power, hence 307 / 2 roundings of
// mean square 1.2e-15. (Sums in lanes do better.)
constexpr double kProduct = 2e-13;

// A frozen weight of 11 rows with a fixed bias.
Var frozen(const Var& x) {
  const DType dtype = x.value().dtype();
  const auto w = std::make_shared<PlainWeight>(randn({11, x.shape()[1]}, 31, DType::f32));
  return frozen_linear(x, w, cast(randn({11}, 32, DType::f32), dtype));
}

// A frozen weight of as many rows as β has factors.
FrozenWeightPtr plain(const Var& x, const Var& beta) {
  return std::make_shared<PlainWeight>(randn({beta.shape()[0], x.shape()[1]}, 33, DType::f32));
}

Var scaled(const Var& x, const Var& alpha, const Var& beta) { return spp(x, plain(x, beta), alpha, beta, 0.7); }

Var scaled_at_once(const Var& x, const Var& alpha, const Var& beta) {
  const Tensor bias = cast(randn({beta.shape()[0]}, 34, DType::f32), x.value().dtype());
  return spp_linear(x, plain(x, beta), bias, alpha, beta, 0.7);
}

}  // namespace

std::vector<OpRow> rows_of_products() {
  const char* why = "sums of up to 307 products";
  return {
      {"linear",
       {{3, 5}, {4, 5}},
       {{131, 307}, {173, 307}},
       [](Vars v) { return std::vector{linear(v[0], v[1])}; },
       kProduct,
       why},
      {"frozen_linear", {{3, 5}}, {{131, 307}}, [](Vars v) { return std::vector{frozen(v[0])}; }, kProduct, why},
      {"spp",
       {{3, 6}, {2, 6}, {4}},
       {{131, 307}, {3, 307}, {33}},
       [](Vars v) { return std::vector{scaled(v[0], v[1], v[2])}; },
       kProduct,
       why},
      {"spp_linear",
       {{3, 6}, {2, 6}, {4}},
       {{131, 307}, {3, 307}, {33}},
       [](Vars v) { return std::vector{scaled_at_once(v[0], v[1], v[2])}; },
       kProduct,
       why},
  };
}

}  // namespace sinter::test
