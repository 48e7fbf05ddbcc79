#include <cmath>

#include "ops/concat.h"
#include "ops/embedding.h"
#include "ops/layer_norm.h"
#include "ops/reduce.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/softmax.h"
#include "test/ops/op_table.h"

namespace sinter::test {
namespace {

using Vars = std::span<const Var>;

// Squares of relative errors: one rounding of f32 is 2^-24, its mean square 1.2e-15.
constexpr double kFewRoundings = 3e-14;
// A weight's gradient adds 125 rows in turn (the share of 16384 / 131) before shares are added: the partial sums average
// half of the final power, hence 125 / 2 roundings of 1.2e-15.
constexpr double kShareOfRows = 8e-14;

// Rows in an order that repeats some and skips others.
Var pick_rows(const Var& table) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < table.shape()[0] + 2; ++i) ids.push_back(std::int32_t(i * i % table.shape()[0]));
  return embedding(table, ids);
}

// Two heads at positions 3, 4, ...
Var rotate(const Var& x) {
  const std::int64_t half = x.shape()[1] / 4;
  std::vector<float> inv_freq;
  for (std::int64_t j = 0; j < half; ++j) inv_freq.push_back(std::pow(100.f, -float(j) / float(half)));
  std::vector<std::int32_t> positions;
  for (std::int64_t t = 0; t < x.shape()[0]; ++t) positions.push_back(std::int32_t(t + 3));
  return rope(x, make_rope_table(inv_freq, positions), 2);
}

std::vector<OpRow> norms() {
  return {
      {"rms_norm",
       {{4, 7}, {7}},
       {{517, 131}, {131}},
       [](Vars v) { return std::vector{rms_norm(v[0], v[1], 1e-5)}; },
       kShareOfRows,
       "the gradients of weights are sums of 517 rows"},
      {"add_rms_norm",
       {{4, 7}, {4, 7}, {7}},
       {{517, 131}, {517, 131}, {131}},
       [](Vars v) {
         const auto [h, y] = add_rms_norm(v[0], v[1], v[2], 1e-5);
         return std::vector{h, y};
       },
       kShareOfRows,
       "as rms_norm, and one rounding of the sum"},
      {"layer_norm",
       {{4, 7}, {7}, {7}},
       {{517, 131}, {131}, {131}},
       [](Vars v) { return std::vector{layer_norm(v[0], v[1], v[2], 1e-5)}; },
       kShareOfRows,
       "the gradients of weights are sums of 517 rows"},
      {"softmax",
       {{3, 6}},
       {{517, 131}},
       [](Vars v) { return std::vector{softmax(v[0])}; },
       kFewRoundings,
       "exp and a sum of 131 in lanes"},
  };
}

std::vector<OpRow> movers() {
  return {
      {"rope",
       {{3, 12}},
       {{317, 140}},
       [](Vars v) { return std::vector{rotate(v[0])}; },
       kFewRoundings,
       "three roundings; the angles are the same f32 in both"},
      {"embedding",
       {{5, 3}},
       {{301, 131}},
       [](Vars v) { return std::vector{pick_rows(v[0])}; },
       kFewRoundings,
       "exact; its gradient sums the few repeated rows"},
      {"concat_rows",
       {{2, 3}, {4, 3}},
       {{70, 131}, {133, 131}},
       [](Vars v) {
         return std::vector{concat_rows(std::array{v[0], v[1], v[0]})};
       },
       kFewRoundings,
       "exact; the gradient of the repeated part has one rounding"},
      {"slice_rows",
       {{5, 3}},
       {{301, 131}},
       [](Vars v) { return std::vector{slice_rows(v[0], 1, v[0].shape()[0] - 1)}; },
       0,
       "exact"},
  };
}

std::vector<OpRow> reductions() {
  constexpr double kRounded = 3e-15;
  return {
      // The loss multiplies a [1] output by a factor, so that dy is not 1.
      {"sum",
       {{3, 5}},
       {{131, 257}},
       [](Vars v) { return std::vector{sum(v[0])}; },
       kRounded,
       "summed in f64, rounded once"},
      {"mean",
       {{3, 5}},
       {{131, 257}},
       [](Vars v) { return std::vector{mean(v[0])}; },
       kRounded,
       "summed in f64, rounded once"},
      {"sum_sq",
       {{3, 5}},
       {{131, 257}},
       [](Vars v) { return std::vector{sum_sq(v[0])}; },
       kRounded * 3,
       "summed in f64, rounded once; two roundings in the gradient"},
  };
}

}  // namespace

std::vector<OpRow> rows_of_rows() {
  std::vector<OpRow> all = norms();
  for (auto more : {movers, reductions})
    for (OpRow& row : more()) all.push_back(std::move(row));
  return all;
}

}  // namespace sinter::test
