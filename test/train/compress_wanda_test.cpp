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

TEST_CASE("Wanda makes exactly the asked number of weights of every row zero, and touches no other") {
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

TEST_CASE("Wanda and magnitude leave exactly N of every M weights") {
  const Layer layer(31, 80, 31, DType::f32);
  for (const KeepOf p : {KeepOf{2, 4}, KeepOf{4, 8}, KeepOf{2, 8}, KeepOf{1, 5}})
    for (const char* method : {"wanda", "magnitude"}) {
      const Tensor q = pruned(method, layer.problem(p));
      for (std::int64_t g = 0; g < q.numel(); g += p.of) CHECK(count_zeros(q, g, g + p.of) == p.of - p.keep);
      CHECK(survivors_unchanged(q, layer.w));
    }
}

TEST_CASE("With inputs of equal norm Wanda is magnitude pruning per row") {
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

TEST_CASE("Scaling an input by c and its weights by 1/c leaves Wanda's mask") {
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

TEST_CASE("With a diagonal Hessian SparseGPT on a single row has Wanda's mask") {
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
