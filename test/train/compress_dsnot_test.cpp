#include <map>

#include "models/linear.h"
#include "models/weights/formats.h"
#include "test/train/compress_cases.h"

using namespace sinter;
using namespace sinter::test;

namespace {

constexpr std::int64_t kLength = 32, kSequences = 4;

// Inputs whose means are not zero, with all that DSnoT asks for.
struct Case {
  Case(std::int64_t rows, std::int64_t columns, std::uint64_t stream, DType dtype = DType::f64)
      : w(randn({rows, columns}, stream + 10, dtype)) {
    Tensor x = correlated_inputs(kLength * kSequences, columns, stream);
    const Tensor centre = randn({columns}, stream + 3);
    for (std::int64_t i = 0; i < x.numel(); ++i)
      x.mutable_data<double>()[std::size_t(i)] += value_at(centre, i % columns);
    Linear l("layer", freeze_dense(randn({1, columns}, stream, DType::f32)));
    Linear* const wanted[] = {&l};
    StatsCollector collector({.column_sq = true, .gram = true, .mean = true, .variance = true}, wanted, kLength);
    collector.on_linear(l, cast(x, dtype), Tensor::zeros({kLength * kSequences, 1}, dtype));
    collector.finish();
    stats = *collector.of(l);
  }
  Tensor compress(const MethodOptions& o, const Sparsity& s, const std::string& method = "dsnot") const {
    LayerProblem p;
    p.name = name;
    p.weight = w;
    p.stats = &stats;
    p.sparsity = s;
    p.store = w.dtype();
    return make_method(method, o)->compress(p).dense;
  }
  // err = Σ w_j s_j of the pruned weights of row i
  double error(const Tensor& q, std::int64_t i) const {
    double sum = 0;
    for (std::int64_t j = 0; j < w.shape()[1]; ++j)
      if (at(q, i, j) == 0) sum += at(w, i, j) * value_at(stats.mean, j);
    return sum;
  }
  Tensor w;
  LayerStats stats;
  std::string name = "model.layers.0.self_attn.q_proj";
};

const char* const kStarts[] = {"wanda", "magnitude", "sparsegpt"};

}  // namespace

TEST_CASE("DSnoT keeps the zeros per row and per group, and every surviving weight bit for bit") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Case c(24, 80, 200, dtype);
    for (const char* start : kStarts)
      for (const char* same_sign : {"0", "1"}) {
        const MethodOptions o{{"initial", start}, {"same_sign", same_sign}};
        for (const double p : {0., 0.3, 0.6, 0.9}) {
          const Tensor q = c.compress(o, Fraction{p});
          for (std::int64_t i = 0; i < 24; ++i)
            CHECK(count_zeros(q, i * 80, i * 80 + 80) == std::int64_t(std::floor(80 * p)));
          for (std::int64_t i = 0; i < q.numel(); ++i)
            if (value_at(q, i) != 0) CHECK(value_at(q, i) == value_at(c.w, i));
        }
        for (const KeepOf p : {KeepOf{2, 4}, KeepOf{4, 8}, KeepOf{2, 8}, KeepOf{7, 8}}) {
          const Tensor q = c.compress(o, p);
          for (std::int64_t g = 0; g < q.numel(); g += p.of) CHECK(count_zeros(q, g, g + p.of) == p.of - p.keep);
        }
      }
  }
}

TEST_CASE("Without cycles DSnoT is its initial mask: Wanda, magnitude per row, SparseGPT's score per row") {
  const Case c(6, 48, 210);
  for (const Sparsity& s : {Sparsity(Fraction{0.6}), Sparsity(KeepOf{2, 4})}) {
    CHECK(same_bits(c.compress({{"cycles", "0"}}, s), c.compress({}, s, "wanda")));
    for (std::int64_t i = 0; i < 6; ++i) {
      Case row = c;
      row.w = c.w.rows(i, i + 1);
      const auto initial = [&](const char* start) { return row.compress({{"initial", start}, {"cycles", "0"}}, s); };
      CHECK(same_bits(initial("magnitude"), row.compress({}, s, "magnitude")));
      const Tensor first = row.compress({}, s, "sparsegpt");
      if (std::holds_alternative<Fraction>(s))  // one block: the score of the dense weights
        CHECK(same_zeros(initial("sparsegpt"), first));
    }
  }
}

TEST_CASE("With a diagonal Hessian the SparseGPT start is the Wanda start") {
  Case c(8, 40, 220);
  std::vector<double> d;
  for (std::int64_t j = 0; j < 40; ++j) d.push_back(value_at(c.stats.column_sq, j));
  c.stats.gram = diagonal(d);
  for (const Sparsity& s : {Sparsity(Fraction{0.5}), Sparsity(KeepOf{2, 4})})
    CHECK(same_bits(c.compress({{"initial", "sparsegpt"}, {"damp", "0"}}, s), c.compress({}, s)));
}

TEST_CASE(
    "The expected error shrinks with every cycle where it may not change its sign, and ends within the threshold") {
  const Case c(32, 120, 230);
  std::vector<double> last(32);
  std::vector<double> start(32);
  int changed = 0;
  for (int cycles = 0; cycles < 12; ++cycles) {
    const Tensor q = c.compress({{"cycles", std::to_string(cycles)}}, Fraction{0.6});
    for (std::int64_t i = 0; i < 32; ++i) {
      const double err = c.error(q, i);
      double& before = last[std::size_t(i)];
      if (cycles == 0) start[std::size_t(i)] = before = err;
      CHECK(std::abs(err) <= std::abs(before) + 1e-9);
      CHECK(err * start[std::size_t(i)] >= 0);
      changed += std::abs(err) < std::abs(before) - 1e-9;
      before = err;
    }
  }
  CHECK(changed > 32);
  // Without that rule an overshoot is legal, and the row goes on from the other side.
  bool turned = false;
  const Tensor q = c.compress({{"same_sign", "0"}, {"cycles", "3"}}, Fraction{0.6});
  for (std::int64_t i = 0; i < 32; ++i) turned |= c.error(q, i) * start[std::size_t(i)] < 0;
  CHECK(turned);
  CHECK(same_bits(c.compress({{"threshold", "1e9"}}, Fraction{0.6}), c.compress({{"cycles", "0"}}, Fraction{0.6})));
}

TEST_CASE("The first swap is the one that the formulas say") {
  const Case c(16, 40, 240);
  const Tensor before = c.compress({{"cycles", "0"}}, Fraction{0.5});
  const Tensor after = c.compress({{"cycles", "1"}, {"same_sign", "0"}}, Fraction{0.5});
  for (std::int64_t i = 0; i < 16; ++i) {
    const double err = c.error(before, i);
    if (std::abs(err) <= 0.1) continue;
    const double sign = err > 0 ? 1 : -1;
    std::int64_t grow = -1, prune = -1;
    double most = 0, least = INFINITY;
    for (std::int64_t j = 0; j < 40; ++j) {
      const double D = at(c.w, i, j) * value_at(c.stats.mean, j);
      const double key = sign * D / value_at(c.stats.variance, j);
      const double score = std::abs(at(c.w, i, j)) * std::sqrt(value_at(c.stats.column_sq, j));
      if (at(before, i, j) == 0 && key > most) most = key, grow = j;
      if (at(before, i, j) != 0 && sign * D < 0 && score < least) least = score, prune = j;
    }
    for (std::int64_t j = 0; j < 40; ++j)
      CHECK((at(after, i, j) == 0) == (j == prune || (at(before, i, j) == 0 && j != grow)));
  }
}

TEST_CASE("DSnoT ends a row where one sign is used up, and never grows an input that is always zero") {
  Case c(8, 24, 250);
  Tensor mean = c.stats.mean.clone(), variance = c.stats.variance.clone(), sq = c.stats.column_sq.clone();
  for (auto* t : {&mean, &variance, &sq}) t->mutable_data<double>()[7] = 0;
  c.stats.mean = mean;
  c.stats.variance = variance;
  c.stats.column_sq = sq;
  const Tensor q = c.compress({{"cycles", "1000"}, {"threshold", "0"}, {"same_sign", "0"}}, Fraction{0.5});
  for (std::int64_t i = 0; i < 8; ++i) {
    CHECK(count_zeros(q, i * 24, i * 24 + 24) == 12);
    CHECK(at(q, i, 7) == 0);
  }
}

TEST_CASE("attention_only leaves the initial mask of all other linears") {
  Case c(8, 40, 260);
  const MethodOptions o{{"attention_only", "1"}};
  CHECK(same_bits(c.compress(o, Fraction{0.6}), c.compress({}, Fraction{0.6})));
  CHECK_FALSE(same_bits(c.compress(o, Fraction{0.6}), c.compress({}, Fraction{0.6}, "wanda")));
  c.name = "model.layers.0.mlp.up_proj";
  CHECK(same_bits(c.compress(o, Fraction{0.6}), c.compress({}, Fraction{0.6}, "wanda")));
}

TEST_CASE("DSnoT gives the same bits for any number of threads, and says what is wrong") {
  Case c(70, 64, 270, DType::f32);
  const Tensor q = c.compress({}, Fraction{0.6});
  {
    const Threads one(1);
    CHECK(same_bits(q, c.compress({}, Fraction{0.6})));
  }
  CHECK_THROWS_TEXT(usage, "hessian", c.compress({{"initial", "hessian"}}, Fraction{0.5}));
  CHECK_THROWS_CODE(usage, c.compress({{"cycles", "-1"}}, Fraction{0.5}));
  CHECK_THROWS_TEXT(usage, "bits", c.compress({{"bits", "4"}}, Fraction{0.5}));
  c.w.mutable_data<float>()[5] = NAN;
  CHECK_THROWS_TEXT(numeric, "q_proj", c.compress({}, Fraction{0.5}));
  c.stats.mean = {};
  CHECK_THROWS_TEXT(unsupported, "q_proj", c.compress({}, Fraction{0.5}));
}
