#include "ops/activation.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "test/ops/op_table.h"

namespace sinter::test {
namespace {

using Vars = std::span<const Var>;

// Squares of relative errors: one rounding of f32 is 2^-24, its mean square 1.2e-15.
constexpr double kOneRounding = 3e-15;
constexpr double kFewRoundings = 3e-14;

const std::vector<Shape> kOne{{3, 5}}, kTwo{{3, 5}, {3, 5}};
const std::vector<Shape> kOddOne{{131, 257}}, kOddTwo{{131, 257}, {131, 257}};  // three chunks

}  // namespace

std::vector<OpRow> rows_of_pointwise() {
  return {
      {"add", kTwo, kOddTwo, [](Vars v) { return std::vector{add(v[0], v[1])}; }, kOneRounding, "one rounding"},
      {"mul", kTwo, kOddTwo, [](Vars v) { return std::vector{mul(v[0], v[1])}; }, kOneRounding, "one rounding"},
      {"scale", kOne, kOddOne, [](Vars v) { return std::vector{scale(v[0], -1.7)}; }, kOneRounding * 3,
       "two roundings: of the factor and of the product"},
      {"add_bias",
       {{3, 5}, {5}},
       {{300, 173}, {173}},
       [](Vars v) { return std::vector{add_bias(v[0], v[1])}; },
       kFewRoundings,
       "the gradient of the bias is a sum of 300"},
      {"silu", kOne, kOddOne, [](Vars v) { return std::vector{silu(v[0])}; }, kFewRoundings, "exp and five roundings"},
      {"gelu", kOne, kOddOne, [](Vars v) { return std::vector{gelu(v[0])}; }, kFewRoundings, "erfc and five roundings"},
      {"relu", kOne, kOddOne, [](Vars v) { return std::vector{relu(v[0])}; }, 0, "exact"},
      {"swiglu", kTwo, kOddTwo, [](Vars v) { return std::vector{swiglu(v[0], v[1])}; }, kFewRoundings,
       "exp and six roundings"},
      {"dropout", kOne, kOddOne,
       [](Vars v) {
         return std::vector{dropout(v[0], 0.3, Rng{3, 4})};
       },
       kOneRounding * 3, "two roundings: of 1 / (1 - p) and of the product"},
  };
}

}  // namespace sinter::test
