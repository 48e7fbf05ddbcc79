#include "test/train/compress_cases.h"

using namespace sinter;
using namespace sinter::test;

namespace {

Tensor pruned(const char* method, const LayerProblem& p) { return make_method(method)->compress(p).dense; }

LayerStats column_norms(const Tensor& sq) {
  LayerStats s;
  s.column_sq = sq;
  return s;
}

bool survivors_unchanged(const Tensor& q, const Tensor& w) {
  for (std::int64_t i = 0; i < w.numel(); ++i)
    if (value_at(q, i) != 0 && value_at(q, i) != value_at(w, i)) return false;
  return true;
}

}  // namespace

TEST_CASE("Wanda makes exactly the asked number of weights of a row zero and touches no other (cards 04.1, 04.6)") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Layer layer(31, 75, 30, dtype);
    for (const double p : {0., 0.3, 0.5, 0.625, 0.9}) {
      const LayerResult r = make_method("wanda")->compress(layer.problem(Fraction{p}));
      for (std::int64_t i = 0; i < 31; ++i)
        CHECK(count_zeros(r.dense, i * 75, i * 75 + 75) == std::int64_t(std::floor(75 * p)));
      CHECK(survivors_unchanged(r.dense, layer.w));
      CHECK(r.zeros == doctest::Approx(std::floor(75 * p) / 75));
    }
  }
}

TEST_CASE("Wanda and magnitude leave exactly N of every M weights (cards 04.1, 04.6)") {
  const Layer layer(31, 80, 31, DType::f32);
  for (const KeepOf p : {KeepOf{2, 4}, KeepOf{4, 8}, KeepOf{2, 8}, KeepOf{1, 5}})
    for (const char* method : {"wanda", "magnitude"}) {
      const Tensor q = pruned(method, layer.problem(p));
      for (std::int64_t g = 0; g < q.numel(); g += p.of) CHECK(count_zeros(q, g, g + p.of) == p.of - p.keep);
      CHECK(survivors_unchanged(q, layer.w));
    }
}

TEST_CASE("With inputs of equal norm Wanda is magnitude pruning per row (card 04.2)") {
  const Layer layer(12, 40, 32);
  const LayerStats equal = column_norms(Tensor::full({40}, 2.5, DType::f64));
  LayerProblem p = layer.problem(Fraction{0.5});
  p.stats = &equal;
  const Tensor q = pruned("wanda", p);
  for (std::int64_t i = 0; i < 12; ++i) {
    Tensor row = Tensor::empty({1, 40}, DType::f64);
    for (std::int64_t j = 0; j < 40; ++j) row.mutable_data<double>()[std::size_t(j)] = at(layer.w, i, j);
    LayerProblem alone = layer.problem(Fraction{0.5});
    alone.weight = row;
    alone.stats = nullptr;
    const Tensor expected = pruned("magnitude", alone);
    for (std::int64_t j = 0; j < 40; ++j) CHECK(at(q, i, j) == at(expected, 0, j));
  }
  CHECK(same_bits(pruned("wanda",
                         [&] {
                           auto n = p;
                           n.sparsity = KeepOf{2, 4};
                           return n;
                         }()),
                  pruned("magnitude", layer.problem(KeepOf{2, 4}))));
}

TEST_CASE("Scaling an input by c and its weights by 1/c leaves Wanda's mask (card 04.3)") {
  const Layer layer(12, 40, 33);
  Tensor w = layer.w.clone(), x = layer.x.clone();
  for (std::int64_t j = 0; j < 40; ++j) {
    const double c = std::ldexp(1., int(j % 9) - 4);  // exact
    for (std::int64_t i = 0; i < 12; ++i) w.mutable_data<double>()[std::size_t(i * 40 + j)] /= c;
    for (std::int64_t t = 0; t < x.shape()[0]; ++t) x.mutable_data<double>()[std::size_t(t * 40 + j)] *= c;
  }
  const LayerStats stats = stats_of(x);
  LayerProblem p = layer.problem(Fraction{0.5});
  p.weight = w;
  p.stats = &stats;
  CHECK(same_zeros(pruned("wanda", p), pruned("wanda", layer.problem(Fraction{0.5}))));
  CHECK_FALSE(same_zeros(pruned("magnitude", p), pruned("magnitude", layer.problem(Fraction{0.5}))));
}

TEST_CASE("With a diagonal Hessian SparseGPT on a single row has Wanda's mask (card 04.4)") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const Tensor w = randn({1, 64}, 40 + seed);
    std::vector<double> d;
    for (std::int64_t j = 0; j < 64; ++j) d.push_back(std::exp(value_at(randn({64}, 60 + seed), j)));
    LayerStats stats;
    stats.gram = diagonal(d);
    stats.column_sq = Tensor::of(Shape{64}, std::span<const double>(d));
    LayerProblem p;
    p.name = "layer";
    p.weight = w;
    p.stats = &stats;
    for (const Sparsity& s : {Sparsity(Fraction{0.5}), Sparsity(KeepOf{2, 4})}) {
      p.sparsity = s;
      CHECK(same_bits(make_method("sparsegpt", {{"damp", "0"}})->compress(p).dense, pruned("wanda", p)));
    }
  }
}

TEST_CASE("Magnitude pruning compares the whole matrix and keeps the largest weights") {
  const Layer layer(20, 30, 34, DType::f32);
  const Tensor q = pruned("magnitude", layer.problem(Fraction{0.7}));
  double largest_gone = 0, smallest_left = INFINITY;
  for (std::int64_t i = 0; i < q.numel(); ++i) {
    double& bound = value_at(q, i) == 0 ? largest_gone : smallest_left;
    const double w = std::abs(value_at(layer.w, i));
    bound = value_at(q, i) == 0 ? std::max(bound, w) : std::min(bound, w);
  }
  CHECK(count_zeros(q) == 420);
  CHECK(largest_gone <= smallest_left);
  CHECK(survivors_unchanged(q, layer.w));
}

TEST_CASE("Methods that need statistics, and norms that are not finite, are errors with the linear's name") {
  const Layer layer(4, 8, 35, DType::f32);
  LayerProblem p = layer.problem(Fraction{0.5});
  p.name = "block.q";
  p.stats = nullptr;
  for (const char* method : {"wanda", "sparsegpt"}) CHECK_THROWS_TEXT(unsupported, "block.q", pruned(method, p));
  LayerProblem broken = p;
  broken.weight = layer.w.clone();
  broken.weight.mutable_data<float>()[3] = NAN;
  CHECK_THROWS_TEXT(numeric, "block.q", pruned("magnitude", broken));
  LayerStats bad = column_norms(Tensor::full({8}, NAN, DType::f32));
  p.stats = &bad;
  CHECK_THROWS_TEXT(numeric, "block.q", pruned("wanda", p));
}

TEST_CASE("Pruned results are rounded to the type they will be stored in, and zeros survive") {
  const Layer layer(16, 32, 36, DType::f32);
  for (const DType store : {DType::bf16, DType::f16}) {
    LayerProblem p = layer.problem(Fraction{0.5});
    const Tensor exact = pruned("sparsegpt", p);
    p.store = store;
    const Tensor rounded = pruned("sparsegpt", p);
    CHECK(same_bits(rounded, cast(cast(exact, store), DType::f32)));
    CHECK(same_zeros(rounded, exact));
  }
}

TEST_CASE("Wanda's variant prunes each row up to one share of its sum, with the sparsity asked for in all") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Layer layer(40, 150, 37, dtype);
    for (const double p : {0.3, 0.5, 0.7}) {
      const Tensor q = make_method("wanda", {{"variant", "1"}})->compress(layer.problem(Fraction{p})).dense;
      CHECK(std::abs(double(count_zeros(q)) / 6000 - p) <= 0.001);
      CHECK(survivors_unchanged(q, layer.w));
      double highest_share = 0, lowest_next = INFINITY;
      std::int64_t fewest = 150, most = 0;
      for (std::int64_t i = 0; i < 40; ++i) {
        double all = 0, gone = 0, next = INFINITY, largest_gone = 0;
        for (std::int64_t j = 0; j < 150; ++j) {
          const double score = std::abs(at(layer.w, i, j)) * std::sqrt(value_at(layer.stats.column_sq, j));
          all += score;
          if (at(q, i, j) != 0) next = std::min(next, score);
          else {
            gone += score;
            largest_gone = std::max(largest_gone, score);
          }
        }
        CHECK(largest_gone <= next);
        highest_share = std::max(highest_share, gone / all);
        lowest_next = std::min(lowest_next, (gone + next) / all);
        const std::int64_t zeros = count_zeros(q, i * 150, i * 150 + 150);
        fewest = std::min(fewest, zeros);
        most = std::max(most, zeros);
      }
      CHECK(highest_share <= lowest_next * (1 + 1e-5));  // there is one α between them
      CHECK(fewest < most);
    }
  }
  const Layer layer(4, 8, 38, DType::f32);
  CHECK_THROWS_TEXT(usage, "--pattern",
                    make_method("wanda", {{"variant", "1"}})->compress(layer.problem(KeepOf{2, 4})));
}

TEST_CASE("Wanda with bits keeps its mask, quantises the rest by OBS, and its loss is that of the result") {
  const Layer layer(23, 96, 39);
  const Tensor h = damped_hessian(layer.stats.gram, 0.01);
  const MethodOptions settings[] = {
      {{"bits", "4"}},
      {{"bits", "3"}, {"sym", "1"}},
      {{"bits", "4"}, {"group", "32"}},
      {{"bits", "4"}, {"group", "24"}, {"mse", "1"}},
      {{"bits", "4"}, {"act_order", "1"}},
      {{"bits", "4"}, {"group", "32"}, {"act_order", "1"}},
      {{"bits", "4"}, {"group", "18"}, {"act_order", "1"}, {"static_groups", "1"}},
  };
  for (const Sparsity& s : {Sparsity(Fraction{0.5}), Sparsity(KeepOf{2, 4}), Sparsity(KeepOf{2, 8})})
    for (const MethodOptions& o : settings) {
      const LayerProblem p = layer.problem(s);
      const Tensor mask = pruned("wanda", p);
      const LayerResult r = make_method("wanda", o)->compress(p);
      for (std::int64_t i = 0; i < mask.numel(); ++i)
        if (value_at(mask, i) == 0) CHECK(value_at(r.dense, i) == 0);
      CHECK(r.loss == doctest::Approx(quadratic_loss(layer.w, r.dense, h)).epsilon(1e-10));
      CHECK(r.over_plain > 0);
      CHECK(r.over_plain < 1);
    }
  CHECK_THROWS_TEXT(usage, "--act-order", make_method("wanda", {{"act_order", "1"}}));
}

TEST_CASE("Joint methods pack what they return, zeros included, in every way of grouping") {
  const Layer layer(19, 72, 43, DType::f32);
  for (const char* method : {"wanda", "sparsegpt", "magnitude"})
    for (const Sparsity& s : {Sparsity(Fraction{0.5}), Sparsity(KeepOf{2, 4})})
      for (const char* bits : {"2", "3", "4", "8"})
        for (const char* group : {"-1", "24", "12"})
          for (const char* fixed : {"0", "1"}) {
            MethodOptions o{{"bits", bits}, {"group", group}, {"sym", fixed}};
            if (*method != 'm') o.set("static_groups", fixed);
            if (*method == 'w') o.set("act_order", "1");
            const LayerResult r = make_method(method, o)->compress(layer.problem(s));
            CHECK_NOTHROW(check_packed(*r.packed, "packed"));
            Tensor unpacked = Tensor::empty(layer.w.shape(), DType::f32);
            unpack_rows(*r.packed, 0, 19, View(unpacked));
            CHECK(same_bits(unpacked, r.dense));
            CHECK(r.zeros >= 0.5 - 1. / 72);
          }
}

TEST_CASE("Weights that are zero already count among the zeros of their group (card 02.6)") {
  Layer layer(16, 64, 45);
  for (std::int64_t i = 0; i < layer.w.numel(); ++i)
    if (i % 64 < 8) layer.w.mutable_data<double>()[std::size_t(i)] = i % 4 == 3 ? 1 : 0;  // three of four are zero
  for (const char* method : {"wanda", "magnitude", "sparsegpt"}) {
    const Tensor q = pruned(method, layer.problem(KeepOf{2, 4}));
    for (std::int64_t g = 0; g < q.numel(); g += 4) CHECK(count_zeros(q, g, g + 4) == (g % 64 < 8 ? 3 : 2));
  }
}

TEST_CASE("Magnitude with bits rounds what is left to the grid that spans it") {
  const Layer layer(20, 48, 44);
  const LayerResult r =
      make_method("magnitude", {{"bits", "4"}, {"group", "16"}})->compress(layer.problem(Fraction{0.5}));
  const Tensor left = pruned("magnitude", layer.problem(Fraction{0.5}));
  const Grid grid = find_grid(left, {.bits = 4, .group = 16}, "w");
  CHECK(same_bits(r.dense, dequantise(nearest_codes(left, grid, 4), grid)));
  for (std::int64_t i = 0; i < left.numel(); ++i)
    if (value_at(left, i) == 0) CHECK(value_at(r.dense, i) == 0);
}
