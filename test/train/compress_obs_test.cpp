// The invariants of the OBS sweep, in f64: tolerances of 1e-10 relative leave room for rounding only.
#include <bit>

#include "test/train/compress_cases.h"

using namespace sinter;
using namespace sinter::test;

namespace {

constexpr double kDamp = 0.01;

struct Solver {
  explicit Solver(const Layer& l) : layer(l), h(damped_hessian(l.stats.gram, kDamp)), root(*upper_cholesky(h)) {}
  ObsResult solve(const ObsOptions& o) const { return solve_obs(layer.w, root, o, "layer"); }
  double loss_of(const ObsResult& r) const { return quadratic_loss(layer.w, r.w, h); }
  const Layer& layer;
  Tensor h, root;
};

ObsOptions with(Sparsity s, std::int64_t block, std::optional<GridRule> grid = std::nullopt) {
  ObsOptions o;
  o.sparsity = s;
  o.block = block;
  o.grid = grid;
  return o;
}

// H⁻¹ restricted to the pruned set of a row, and the least loss of any weights with that row's zeros.
double least_loss_of_row(const Tensor& w, const Tensor& q, const Tensor& inverse, std::int64_t row) {
  std::vector<std::int64_t> pruned;
  for (std::int64_t j = 0; j < w.shape()[1]; ++j)
    if (at(q, row, j) == 0) pruned.push_back(j);
  const auto k = std::int64_t(pruned.size());
  if (k == 0) return 0;
  Tensor part = Tensor::empty({k, k}, DType::f64), wp = Tensor::empty({k, 1}, DType::f64);
  for (std::int64_t a = 0; a < k; ++a) {
    wp.mutable_data<double>()[std::size_t(a)] = at(w, row, pruned[std::size_t(a)]);
    for (std::int64_t b = 0; b < k; ++b)
      part.mutable_data<double>()[std::size_t(a * k + b)] = at(inverse, pruned[std::size_t(a)], pruned[std::size_t(b)]);
  }
  const Tensor y = matmul(inverse_lower(*cholesky(part)), Trans::no, wp, Trans::no);  // ½ wᵀ part⁻¹ w = ½ ‖L⁻¹ w‖²
  double sum = 0;
  for (std::int64_t a = 0; a < k; ++a) sum += value_at(y, a) * value_at(y, a) / 2;
  return sum;
}

}  // namespace

TEST_CASE("The loss of the sweep is the quadratic loss of its result, for all rules and blocks (cards 02.1, 03.2)") {
  const Layer layer(37, 96, 1);
  const Solver solver(layer);
  const GridRule rows{.bits = 3}, groups{.bits = 4, .group = 24};
  for (const std::int64_t block : {1, 2, 3, 8, 24, 40, 96, 128})
    for (const Sparsity& s : {Sparsity(Unpruned{}), Sparsity(Fraction{0.5}), Sparsity(Fraction{0.75}),
                              Sparsity(KeepOf{2, 4}), Sparsity(KeepOf{2, 8})})
      for (const std::optional<GridRule>& grid :
           {std::optional<GridRule>(), std::optional(rows), std::optional(groups)}) {
        const ObsResult r = solver.solve(with(s, block, grid));
        CAPTURE(block);
        CAPTURE(describe(s));
        CHECK(std::abs(r.loss - solver.loss_of(r)) <= 1e-10 * solver.loss_of(r));
      }
}

TEST_CASE("The loss is that of the result beyond one tile of rows and one part of the columns before a block") {
  const Layer layer(70, 700, 14);
  const Solver solver(layer);
  const GridRule rows{.bits = 3}, short_groups{.bits = 4, .group = 24}, long_groups{.bits = 4, .group = 200};
  for (const auto& [sparsity, grid, stale] : {std::tuple(Sparsity(Fraction{0.5}), std::optional<GridRule>(), false),
                                              {Fraction{0.5}, long_groups, false},
                                              {KeepOf{2, 4}, long_groups, false},
                                              {Unpruned{}, short_groups, true},
                                              {Unpruned{}, long_groups, true},
                                              {Fraction{0.6}, rows, false}}) {
    ObsOptions o = with(sparsity, 128, grid);
    o.stale_groups = stale;
    const ObsResult r = solver.solve(o);
    CAPTURE(describe(sparsity));
    CAPTURE(stale);
    CHECK(std::abs(r.loss - solver.loss_of(r)) <= 1e-10 * solver.loss_of(r));
    if (grid) CHECK(distance(dequantise(r.codes, r.grid), r.w) == 0);
  }
}

// What a group's grid is found from, written out with the dense inverse: W_k − Σ e_i U_ik over the columns before.
TEST_CASE("The grid of a group is that of its weights as the columns before it left them") {
  const Layer layer(9, 300, 15);
  const Solver solver(layer);
  const Tensor U = *inverse_factor(solver.h);
  for (const std::int64_t group : {24, 75, 200}) {
    const GridRule rule{.bits = 3, .group = group};
    const ObsResult r = solver.solve(with(Unpruned{}, 64, rule));
    Tensor w = layer.w.clone();
    const auto W = w.mutable_data<double>();
    for (std::int64_t j = 0; j < 300; ++j) {
      for (std::int64_t i = 0; i < 9 && j % group == 0; ++i) {
        const std::int64_t G = (300 + group - 1) / group, length = std::min<std::int64_t>(group, 300 - j);
        const auto here = W.subspan(std::size_t(i * 300 + j), std::size_t(length));
        const Levels<double> l = find_levels(std::span<const double>(here), rule, "layer");
        CHECK(l.scale == doctest::Approx(value_at(r.grid.scale, i * G + j / group)).epsilon(2e-3));  // an f16 apart
        CHECK(l.zero == r.grid.zero.data<std::uint8_t>()[std::size_t(i * G + j / group)]);
      }
      for (std::int64_t i = 0; i < 9; ++i) {
        const double e = (W[std::size_t(i * 300 + j)] - at(r.w, i, j)) / at(U, j, j);
        for (std::int64_t k = j; k < 300; ++k) W[std::size_t(i * 300 + k)] -= e * at(U, j, k);
      }
    }
  }
}

TEST_CASE("With a fixed mask or grid the block size changes nothing but rounding (cards 02.2, 03.2)") {
  const Layer layer(37, 96, 2);
  const Solver solver(layer);
  ObsOptions fixed = with(Unpruned{}, 128);
  fixed.drop = zero_mask(solver.solve(with(Fraction{0.6}, 128)).w);
  const Tensor expected = solver.solve(fixed).w;
  CHECK(same_bits(zero_mask(expected), fixed.drop));
  for (const GridRule& rule :
       {GridRule{.bits = 4}, GridRule{.bits = 4, .group = 16}, GridRule{.bits = 4, .group = 40}}) {
    const ObsResult whole = solver.solve(with(Unpruned{}, 128, rule));
    for (const std::int64_t block : {1, 2, 3, 8, 33, 64}) {
      CAPTURE(block);
      fixed.block = block;
      CHECK(distance(solver.solve(fixed).w, expected) < 1e-12);
      const ObsResult r = solver.solve(with(Unpruned{}, block, rule));
      CHECK(same_bits(r.codes, whole.codes));
      CHECK(distance(r.w, whole.w) < 1e-12);
    }
  }
}

TEST_CASE("An n:m mask does not depend on the block size") {
  const Layer layer(19, 96, 3);
  const Solver solver(layer);
  for (const KeepOf p : {KeepOf{2, 4}, KeepOf{4, 8}, KeepOf{2, 8}, KeepOf{10, 48}}) {
    const Tensor expected = solver.solve(with(p, 128)).w;
    for (const std::int64_t block : {8, 24, 32, 96}) CHECK(distance(solver.solve(with(p, block)).w, expected) < 1e-12);
  }
}

TEST_CASE("Pruning column 0 alone moves the others by the closed form (card 02.3)") {
  const Layer layer(5, 20, 4);
  const Solver solver(layer);
  const Tensor x = inverse_lower(*cholesky(solver.h)), inverse = matmul(x, Trans::yes, x, Trans::no);
  ObsOptions o;
  o.drop = Tensor::zeros(layer.w.shape(), DType::u8);
  for (std::int64_t i = 0; i < 5; ++i) o.drop.mutable_data<std::uint8_t>()[std::size_t(i * 20)] = 1;
  const Tensor q = solver.solve(o).w;
  for (std::int64_t i = 0; i < 5; ++i) {
    CHECK(at(q, i, 0) == 0);
    for (std::int64_t k = 1; k < 20; ++k)
      CHECK(at(q, i, k) ==
            doctest::Approx(at(layer.w, i, k) - at(layer.w, i, 0) / at(inverse, 0, 0) * at(inverse, 0, k))
                .epsilon(1e-11));
  }
}

TEST_CASE("With a diagonal Hessian nothing is compensated and the mask sorts w² H_jj (card 02.4)") {
  const std::int64_t m = 11, n = 40;
  const Tensor w = randn({m, n}, 5);
  std::vector<double> d;
  for (std::int64_t j = 0; j < n; ++j) d.push_back(std::exp(value_at(randn({n}, 6), j)));
  const Tensor root = *upper_cholesky(diagonal(d));
  const ObsResult r = solve_obs(w, root, with(Fraction{0.5}, 128), "layer");
  double highest_pruned = 0, lowest_kept = 1e300;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      const double score = at(w, i, j) * at(w, i, j) * d[std::size_t(j)];
      if (at(r.w, i, j) == 0) highest_pruned = std::max(highest_pruned, score);
      else {
        lowest_kept = std::min(lowest_kept, score);
        CHECK(at(r.w, i, j) == at(w, i, j));
      }
    }
  CHECK(highest_pruned < lowest_kept);
  CHECK(count_zeros(r.w) == m * n / 2);
}

TEST_CASE("Unstructured pruning makes exactly the asked share of each block zero") {
  const Layer layer(13, 100, 7);
  const Solver solver(layer);
  for (const double p : {0.3, 0.5, 0.625, 0.75}) {
    const Tensor q = solver.solve(with(Fraction{p}, 32)).w;
    for (std::int64_t begin = 0; begin < 100; begin += 32) {
      const std::int64_t end = std::min<std::int64_t>(100, begin + 32);
      std::int64_t zeros = 0;
      for (std::int64_t i = 0; i < 13; ++i) zeros += count_zeros(q, i * 100 + begin, i * 100 + end);
      CHECK(zeros == zeros_among(Fraction{p}, 13 * (end - begin)));
    }
  }
}

TEST_CASE("n:m leaves exactly n weights in every group, alone and with a grid (card 02.6)") {
  const Layer layer(13, 96, 8);
  const Solver solver(layer);
  for (const KeepOf p : {KeepOf{2, 4}, KeepOf{4, 8}, KeepOf{2, 8}, KeepOf{1, 4}, KeepOf{3, 4}}) {
    const Tensor q = solver.solve(with(p, 128)).w;
    const Tensor joint = solver.solve(with(p, 128, GridRule{.bits = 4})).w;
    for (std::int64_t g = 0; g < q.numel(); g += p.of) {
      CHECK(count_zeros(q, g, g + p.of) == p.of - p.keep);
      CHECK(count_zeros(joint, g, g + p.of) >= p.of - p.keep);  // a kept weight may round to zero
    }
  }
}

TEST_CASE("No mask has less loss than least squares allows (card 02.5)") {
  const Layer layer(9, 48, 9);
  const Solver solver(layer);
  const Tensor x = inverse_lower(*cholesky(solver.h)), inverse = matmul(x, Trans::yes, x, Trans::no);
  for (const Sparsity& s : {Sparsity(Fraction{0.5}), Sparsity(Fraction{0.75}), Sparsity(KeepOf{2, 4})}) {
    const ObsResult r = solver.solve(with(s, 16));
    double bound = 0;
    for (std::int64_t i = 0; i < 9; ++i) bound += least_loss_of_row(layer.w, r.w, inverse, i);
    CHECK(r.loss >= bound * (1 - 1e-12));
    CHECK(r.loss < 2 * bound);  // the sweep is near it: an error in the updates would not be
  }
}

// The sweep is greedy: no theorem bounds a single matrix from above, so that side is asked of 30 together.
TEST_CASE("On 4 x 4 the sweep lies between the best of all 2:4 masks and magnitude without update (card 02.5)") {
  double swept = 0, by_magnitude = 0;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    const Layer layer(4, 4, 100 + 20 * seed);
    const Solver solver(layer);
    const Tensor x = inverse_lower(*cholesky(solver.h)), inverse = matmul(x, Trans::yes, x, Trans::no);
    double best = 0;
    for (std::int64_t row = 0; row < 4; ++row) {
      double least = 1e300;
      for (unsigned set = 0; set < 16; ++set) {
        if (std::popcount(set) != 2) continue;
        Tensor q = ones({4, 4});
        for (std::int64_t j = 0; j < 4; ++j)
          if (set >> j & 1) q.mutable_data<double>()[std::size_t(row * 4 + j)] = 0;
        least = std::min(least, least_loss_of_row(layer.w, q, inverse, row));
      }
      best += least;
    }
    const ObsResult r = solver.solve(with(KeepOf{2, 4}, 128));
    CHECK(r.loss >= best * (1 - 1e-12));
    swept += r.loss;
    by_magnitude +=
        quadratic_loss(layer.w, make_method("magnitude")->compress(layer.problem(KeepOf{2, 4})).dense, solver.h);
  }
  CHECK(swept < 0.7 * by_magnitude);
}

TEST_CASE("Joint pruning and quantisation: zeros stay zero, all else is on the grid of the dense rows") {
  const Layer layer(21, 72, 10);
  const auto joint = make_method("sparsegpt", {{"bits", "4"}})->compress(layer.problem(Fraction{0.5}));
  const Grid grid = find_grid(layer.w, {.bits = 4}, "layer");
  CHECK(count_zeros(joint.dense) >= 21 * 72 / 2);
  for (std::int64_t i = 0; i < 21; ++i)
    for (std::int64_t j = 0; j < 72; ++j) {
      const double scale = value_at(grid.scale, i), zero = grid.zero.data<std::uint8_t>()[std::size_t(i)];
      const double code = std::nearbyint(at(joint.dense, i, j) / scale) + zero;
      CHECK(code >= 0);
      CHECK(code <= 15);
      CHECK(at(joint.dense, i, j) == scale * (code - zero));
    }
}

TEST_CASE("Joint mode without a grid is pruning, and without zeros is GPTQ per row, bit for bit (card 02.7)") {
  const Layer layer(21, 72, 11);
  const Solver solver(layer);
  const Tensor pruned = make_method("sparsegpt")->compress(layer.problem(Fraction{0.5})).dense;
  CHECK(same_bits(pruned, solver.solve(with(Fraction{0.5}, 128)).w));
  const auto none = make_method("sparsegpt", {{"bits", "3"}})->compress(layer.problem(Fraction{0}));
  const auto gptq = make_method("gptq", {{"bits", "3"}})->compress(layer.problem());
  CHECK(same_bits(none.dense, gptq.dense));
  CHECK(none.loss == gptq.loss);
}

TEST_CASE("Without mask and grid the sweep returns its weight bit for bit, with no loss") {
  const Layer layer(70, 150, 12);
  const ObsResult r = Solver(layer).solve(with(Unpruned{}, 64));
  CHECK(same_bits(r.w, layer.w));
  CHECK(r.loss == 0);
}

TEST_CASE("The sweep has the same bits for 1, 2 and 3 threads at odd shapes") {
  for (const auto& [m, n] : {std::pair<std::int64_t, std::int64_t>(172, 64), {1000, 300}, {65, 172}}) {
    const Layer layer(m, n, 13, DType::f32);
    for (const auto& [name, options, sparsity] :
         {std::tuple<const char*, MethodOptions, Sparsity>("sparsegpt", {}, Fraction{0.5}),
          {"sparsegpt", {}, KeepOf{2, 4}},
          {"sparsegpt", {{"bits", "4"}}, Fraction{0.625}},
          {"gptq", {{"bits", "3"}, {"group", "24"}}, Unpruned{}},
          {"gptq", {{"bits", "4"}, {"act_order", "1"}, {"mse", "1"}, {"group", "50"}}, Unpruned{}},
          {"wanda", {}, Fraction{0.5}},
          {"magnitude", {}, Fraction{0.5}},
          {"rtn", {{"bits", "4"}}, Unpruned{}}}) {
      std::vector<LayerResult> results;
      for (const int threads : {1, 2, 3}) {
        const Threads set(threads);
        results.push_back(make_method(name, options)->compress(layer.problem(sparsity)));
      }
      for (const std::size_t k : {1, 2}) {
        CAPTURE(name);
        CHECK(same_bits(results[0].dense, results[k].dense));
        CHECK(results[0].loss == results[k].loss);
        CHECK(results[0].error == results[k].error);
        if (results[0].packed) CHECK(same_bits(results[0].packed->codes, results[k].packed->codes));
      }
    }
  }
}
