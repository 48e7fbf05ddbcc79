#include "train/compress/factor.h"

#include "test/train/compress_cases.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// Unit diagonal and one direction of curvature −depth: positive definite once the damping exceeds `depth`.
Tensor indefinite(double depth, DType dtype) {
  const std::int64_t n = 30;
  const double b = (1 + depth) / double(n - 1);  // I − b·(11ᵀ − I) has the least eigenvalue 1 − b·(n − 1)
  Tensor h = Tensor::full({n, n}, -b, dtype);
  visit_float(dtype, "indefinite", [&]<class T>() {
    for (std::int64_t j = 0; j < n; ++j) h.mutable_data<T>()[std::size_t(j * n + j)] = 1;
  });
  return h;
}

// The columns of t but one.
Tensor without_column(const Tensor& t, std::int64_t gone) {
  const std::int64_t n = t.shape()[1] - 1;
  Tensor out = Tensor::empty({t.shape()[0], n}, DType::f64);
  for (std::int64_t i = 0; i < t.shape()[0]; ++i)
    for (std::int64_t j = 0; j < n; ++j) out.mutable_data<double>()[std::size_t(i * n + j)] = at(t, i, j + (j >= gone));
  return out;
}

}  // namespace

TEST_CASE("The factor is that of the damped matrix") {
  const Layer layer(1, 60, 40);
  const Factor f = factorise(layer.stats.gram, {.damp = 0.05}, "layer");
  CHECK(distance(f.root, *upper_cholesky(damped_hessian(layer.stats.gram, 0.05))) < 1e-13);
  CHECK(f.damp == 0.05);
  CHECK(f.ladder == 0);
  CHECK(f.dead.empty());
}

TEST_CASE("A Gram matrix that is given up becomes the factor in its place, and one that is not stays as it is") {
  const Layer layer(1, 300, 44, DType::f32);
  const Tensor before = layer.stats.gram.clone();
  for (const bool act_order : {false, true}) {
    const FactorRequest request{.damp = 0.01, .act_order = act_order};
    const Factor kept = factorise(layer.stats.gram, request, "layer");
    CHECK(same_bits(layer.stats.gram, before));
    Tensor mine = before.clone();
    const std::byte* const at = mine.raw();
    const Factor given = factorise(std::move(mine), request, "layer");
    CHECK(given.root.raw() == at);
    CHECK(same_bits(given.root, kept.root));
  }
  // Also after steps of the ladder
  Tensor h = indefinite(0.5, DType::f32);
  const std::byte* const at = h.raw();
  const Tensor expected = factorise(h, {.damp = 1}, "layer").root;
  const Factor f = factorise(std::move(h), {.damp = 0.01}, "layer");
  CHECK(f.ladder == 2);
  CHECK(f.root.raw() == at);
  CHECK(distance(f.root, expected) < 1e-6);
}

TEST_CASE("The factor in act-order is that of the matrix with its rows and columns in that order") {
  const std::int64_t n = 70;
  const Layer layer(1, n, 45);
  const Factor f = factorise(layer.stats.gram, {.damp = 0.01, .act_order = true}, "layer");
  const Tensor h = damped_hessian(layer.stats.gram, 0.01);
  Tensor sorted = Tensor::empty({n, n}, DType::f64);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j)
      sorted.mutable_data<double>()[std::size_t(i * n + j)] = at(h, f.order[std::size_t(i)], f.order[std::size_t(j)]);
  CHECK(distance(matmul(f.root, Trans::no, f.root, Trans::yes), sorted) < 1e-12 * at(sorted, 0, 0));
}

TEST_CASE("Damping grows tenfold until the factorisation succeeds, and gives up with the linear's name") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const auto& [depth, ladder, damp] : {std::tuple{0.005, 0, 0.01}, {0.05, 1, 0.1}, {0.5, 2, 1.}, {5., 3, 10.}}) {
      const Factor f = factorise(indefinite(depth, dtype), {.damp = 0.01}, "layer");
      CHECK(f.ladder == ladder);
      CHECK(f.damp == doctest::Approx(damp));
    }
  CHECK_THROWS_TEXT(numeric, "block.k", factorise(indefinite(50, DType::f32), {.damp = 0.01}, "block.k"));
  CHECK_THROWS_TEXT(numeric, "block.k", factorise(indefinite(50, DType::f64), {.damp = 0.01}, "block.k"));
  CHECK(factorise(indefinite(0.0001, DType::f32), {.damp = 0}, "layer").damp == doctest::Approx(1e-3));
}

TEST_CASE("f64 is tried before giving up") {
  // One direction of curvature −10, and a damping that ends at 10: singular, but for a last bit that f32 does not have.
  const std::int64_t n = 2;
  Tensor h = Tensor::full({n, n}, 1, DType::f32);
  h.mutable_data<float>()[1] = h.mutable_data<float>()[2] = -11;
  h.mutable_data<float>()[0] = h.mutable_data<float>()[3] = 1;
  CHECK_THROWS_CODE(numeric, factorise(h, {.damp = 0.01}, "layer"));  // exactly singular at the last step
  const Factor f = factorise(h, {.damp = std::nextafter(0.01, 1.)}, "layer");
  CHECK(f.ladder == 4);
  CHECK_THROWS_CODE(numeric, factorise(h, {.damp = std::nextafter(0.01, 1.), .f64 = false}, "layer"));
}

TEST_CASE("A diagonal that is not finite is an error at once") {
  for (const double bad : {double(NAN), double(INFINITY)}) {
    Tensor h = indefinite(0, DType::f32);
    h.mutable_data<float>()[31 * 7] = float(bad);
    CHECK_THROWS_TEXT(numeric, "column 7", factorise(h, {}, "layer"));
  }
}

TEST_CASE("Act-order sorts the diagonal downwards, of equals the first first") {
  const Factor f = factorise(diagonal({2, 5, 2, 9, 5, 0}), {.damp = 0.01, .act_order = true}, "layer");
  CHECK(f.order == std::vector<std::int64_t>{3, 1, 4, 0, 2, 5});
  CHECK(f.dead == std::vector<std::int64_t>{5});
}

TEST_CASE("A column that no input excites becomes zero, the others are those of the problem without it (card 01.4)") {
  const std::int64_t m = 9, n = 24, dead = 5;
  const Layer base(m, n, 41);
  Tensor x = base.x.clone();
  for (std::int64_t t = 0; t < x.shape()[0]; ++t) x.mutable_data<double>()[std::size_t(t * n + dead)] = 0;
  const LayerStats all = stats_of(x), live = stats_of(without_column(x, dead));
  // The damping is relative to the mean of the diagonal, to which a dead column contributes 1.
  double sum = 0;
  for (std::int64_t j = 0; j < n; ++j) sum += at(all.gram, j, j);
  const std::string damp = std::to_string(0.01 * (sum + 1) / double(n) / (sum / double(n - 1)));
  LayerProblem p = base.problem(), q = base.problem();
  p.stats = &all;
  q.stats = &live;
  q.weight = without_column(base.w, dead);
  const Tensor solved = make_method("gptq", {{"bits", "3"}})->compress(p).dense;
  for (std::int64_t i = 0; i < m; ++i) CHECK(at(solved, i, dead) == 0);
  // The grid of each row is the dense one's, to which the dead column belongs: give it nothing to say.
  Tensor quiet = base.w.clone();
  for (std::int64_t i = 0; i < m; ++i) quiet.mutable_data<double>()[std::size_t(i * n + dead)] = 0;
  p.weight = quiet;
  const Tensor expected = make_method("gptq", {{"bits", "3"}, {"damp", damp}})->compress(q).dense;
  CHECK(distance(without_column(make_method("gptq", {{"bits", "3"}})->compress(p).dense, dead), expected) < 1e-12);
}

TEST_CASE("A memo factors once for one request and again for another") {
  const Layer layer(1, 20, 42);
  FactorMemo memo;
  const auto a = memo.get(layer.stats.gram, {.damp = 0.01}, "q"), b = memo.get(layer.stats.gram, {.damp = 0.01}, "k");
  CHECK(a == b);
  CHECK(memo.get({}, {.damp = 0.01}, "v") == a);
  CHECK(memo.get(layer.stats.gram, {.damp = 0.02}, "o") != a);
}
