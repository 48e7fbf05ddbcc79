// solve_sparsegpt, solve_gptq, hessian: what compressing one linear costs, counted in floating-point operations.
#include "apps/bench.h"
#include "ops/gemm.h"
#include "ops/linalg.h"
#include "train/compress/factor.h"
#include "train/compress/obs.h"

namespace sinter::bench {
namespace {

constexpr std::int64_t kRows = 4096, kTokens = 2048;
constexpr std::int64_t kColumns[] = {4096, 11008};  // inputs of the linears of a 7B model

std::string shape_of(std::int64_t columns) { return std::to_string(kRows) + " x " + std::to_string(columns); }

// Inputs with a shared part, as neighbours in time.
Tensor inputs(std::int64_t columns) {
  Tensor x = random_tensor({kTokens, columns}, 11);
  const auto values = x.mutable_data<float>();
  for (std::size_t i = 1; i < values.size(); ++i) values[i] += 0.5f * values[i - 1];
  return x;
}

Tensor gram_of(std::int64_t columns) {
  Tensor gram = Tensor::zeros({columns, columns}, DType::f32);
  add_gram(gram, inputs(columns));
  return gram;
}

// A row whose limit is the engine's own product of 2048 x 2048 x 2048.
Row beside_product(LogSink& log, std::string_view what, std::string shape, double operations,
                   const std::function<double()>& seconds) {
  constexpr std::int64_t kCube = 2048;
  const Tensor a = random_tensor({kCube, kCube}, 1), b = random_tensor({kCube, kCube}, 2);
  const Pair s = in_turn(
      log, [&] { return timed([&] { matmul(a, Trans::no, b, Trans::no); }); }, seconds);
  return {what, std::move(shape), 1e-9 * operations, "GFLOP/s", s.engine, 2e-9 * kCube * kCube * kCube / s.limit};
}

// From the Gram matrix to the compressed weight: n³/3 for H = R Rᵀ, m n² for the sweep.
std::vector<Row> solves(LogSink& log, std::string_view what, std::string_view how, const ObsOptions& options) {
  std::vector<Row> rows;
  for (const std::int64_t columns : kColumns) {
    const Tensor gram = gram_of(columns), weight = random_tensor({kRows, columns}, 10);
    ObsOptions o = options;
    if (o.grid) o.known = find_grid(weight, *o.grid, what);
    const double m = double(kRows), n = double(columns);
    rows.push_back(beside_product(log, what, shape_of(columns) + std::string(how), n * n * n / 3 + m * n * n, [&] {
      Tensor w = weight.clone(), h = gram.clone();
      return timed([&] { solve_obs(std::move(w), factorise(std::move(h), {}, what).root, o, what); });
    }));
  }
  return rows;
}

}  // namespace

std::vector<Row> solve_sparsegpt(LogSink& log) {
  ObsOptions o;
  o.sparsity = Fraction{0.5};
  return solves(log, "solve_sparsegpt", ", 50 %", o);
}

std::vector<Row> solve_gptq(LogSink& log) {
  ObsOptions o;
  o.grid = GridRule{.bits = 4};
  return solves(log, "solve_gptq", ", 4 bits", o);
}

// T n² operations, half of the full product xᵀ x.
std::vector<Row> hessian(LogSink& log) {
  std::vector<Row> rows;
  for (const std::int64_t columns : kColumns) {
    const Tensor x = inputs(columns);
    Tensor gram = Tensor::zeros({columns, columns}, DType::f32);
    const double n = double(columns);
    rows.push_back(beside_product(log, "hessian", std::to_string(kTokens) + " tokens, n = " + std::to_string(columns),
                                  double(kTokens) * n * n, [&] { return timed([&] { add_gram(gram, x); }); }));
  }
  return rows;
}

}  // namespace sinter::bench
