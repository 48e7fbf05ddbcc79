#include "test/train/compress_cases.h"

using namespace sinter;
using namespace sinter::test;

namespace {

LayerResult gptq(const LayerProblem& p, MethodOptions o) { return make_method("gptq", std::move(o))->compress(p); }
LayerResult rtn(const LayerProblem& p, MethodOptions o) { return make_method("rtn", std::move(o))->compress(p); }

LayerProblem of(const Tensor& w, const LayerStats& s) {
  LayerProblem p;
  p.name = "layer";
  p.weight = w;
  p.stats = &s;
  return p;
}

Tensor permuted_columns(const Tensor& t, const std::vector<std::int64_t>& order) {
  Tensor out = Tensor::empty(t.shape(), t.dtype());
  const std::int64_t n = t.shape()[1];
  for (std::int64_t i = 0; i < t.numel(); ++i)
    out.mutable_data<double>()[std::size_t(i)] = at(t, i / n, order[std::size_t(i % n)]);
  return out;
}

}  // namespace

TEST_CASE("A weight that lies on its grid comes back bit for bit, without loss (card 03.1)") {
  const Layer layer(17, 64, 20, DType::f32);
  const Grid grid = find_grid(layer.w, {.bits = 8}, "w");
  const Tensor w = dequantise(nearest_codes(layer.w, grid, 8), grid);
  ObsOptions o;
  o.grid = GridRule{.bits = 8};
  o.known = grid;
  const ObsResult r =
      solve_obs(w, *upper_cholesky(cast(damped_hessian(layer.stats.gram, 0.01), DType::f32)), o, "layer");
  CHECK(same_bits(r.w, w));
  CHECK(same_bits(r.codes, nearest_codes(w, grid, 8)));
  CHECK(r.loss == 0);
}

TEST_CASE("With a diagonal Hessian GPTQ is rounding to nearest, by rows, groups, static and in act-order (card 03.3)") {
  std::vector<double> d;
  for (std::int64_t j = 0; j < 48; ++j) d.push_back(std::exp(value_at(randn({48}, 21), j)));
  LayerStats stats;
  stats.gram = diagonal(d);
  const Tensor w = randn({20, 48}, 22);
  for (const char* bits : {"2", "3", "4", "8"}) {
    const Tensor expected = rtn(of(w, stats), {{"bits", bits}}).dense;
    CHECK(same_bits(gptq(of(w, stats), {{"bits", bits}}).dense, expected));
    CHECK(same_bits(gptq(of(w, stats), {{"bits", bits}, {"act_order", "1"}}).dense, expected));
    const Tensor groups = rtn(of(w, stats), {{"bits", bits}, {"group", "20"}, {"sym", "1"}}).dense;
    CHECK(same_bits(gptq(of(w, stats), {{"bits", bits}, {"group", "20"}, {"sym", "1"}}).dense, groups));
    CHECK(same_bits(
        gptq(of(w, stats), {{"bits", bits}, {"group", "20"}, {"sym", "1"}, {"static_groups", "1"}, {"act_order", "1"}})
            .dense,
        groups));
  }
}

TEST_CASE("GPTQ's loss is below that of rounding to nearest, over 100 layers (card 03.4)") {
  double swept = 0, rounded = 0;
  int worse = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Layer layer(8, 32, 1000 + 20 * seed);
    const Tensor h = damped_hessian(layer.stats.gram, 0.01);
    const double a = quadratic_loss(layer.w, gptq(layer.problem(), {{"bits", "3"}}).dense, h);
    const double b = quadratic_loss(layer.w, rtn(layer.problem(), {{"bits", "3"}}).dense, h);
    swept += a;
    rounded += b;
    worse += a > b;
  }
  CHECK(swept < 0.8 * rounded);
  CHECK(worse <= 5);
}

TEST_CASE("The codes of a row of four lose no less than the best of all 4⁴ (card 03.4)") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Layer layer(1, 4, 4000 + 20 * seed);
    const Tensor h = damped_hessian(layer.stats.gram, 0.01);
    ObsOptions o;
    o.grid = GridRule{.bits = 2};
    Grid known = empty_grid(1, 4, *o.grid, DType::f64);
    known.scale.mutable_data<double>()[0] = 0.8;
    known.zero.mutable_data<std::uint8_t>()[0] = 1;
    o.known = known;
    const ObsResult r = solve_obs(layer.w, *upper_cholesky(h), o, "layer");
    double best = 1e300;
    for (unsigned codes = 0; codes < 256; ++codes) {
      Tensor q = Tensor::empty({1, 4}, DType::f64);
      for (unsigned j = 0; j < 4; ++j) q.mutable_data<double>()[j] = 0.8 * (double(codes >> (2 * j) & 3) - 1);
      best = std::min(best, quadratic_loss(layer.w, q, h));
    }
    CHECK(r.loss >= best * (1 - 1e-12));
  }
}

TEST_CASE("Every weight is on its grid, with the code that is stored, in every way of grouping (cards 03.5, 03.6)") {
  const Layer layer(19, 70, 23, DType::f32);
  for (const char* bits : {"2", "3", "4", "8"})
    for (const char* group : {"-1", "32", "7", "70", "69"})
      for (const char* act : {"0", "1"})
        for (const char* fixed : {"0", "1"}) {
          const LayerResult r =
              gptq(layer.problem(),
                   {{"bits", bits}, {"group", group}, {"act_order", act}, {"static_groups", fixed}, {"sym", fixed}});
          Tensor unpacked = Tensor::empty(layer.w.shape(), DType::f32);
          CHECK_NOTHROW(check_packed(*r.packed, "packed"));
          unpack_rows(*r.packed, 0, 19, View(unpacked));
          CAPTURE(group);
          CHECK(same_bits(unpacked, r.dense));
          CHECK(bool(r.packed->order) == (*act == '1' && *fixed == '0' && r.packed->group < 70));
        }
}

TEST_CASE("Act-order makes the order of the inputs irrelevant (card 03.7)") {
  const Layer layer(11, 40, 24);
  std::vector<std::int64_t> order(40);
  for (std::int64_t j = 0; j < 40; ++j) order[std::size_t(j)] = (j * 17 + 5) % 40;
  const Layer& l = layer;
  const Tensor w = permuted_columns(l.w, order), x = permuted_columns(l.x, order);
  const LayerStats stats = stats_of(x);
  const Tensor plain = gptq(l.problem(), {{"bits", "3"}, {"act_order", "1"}}).dense;
  const Tensor moved = gptq(of(w, stats), {{"bits", "3"}, {"act_order", "1"}}).dense;
  CHECK(distance(moved, permuted_columns(plain, order)) < 1e-12);
  CHECK(distance(gptq(of(w, stats), {{"bits", "3"}}).dense,
                 permuted_columns(gptq(l.problem(), {{"bits", "3"}}).dense, order)) > 0.01);
}

TEST_CASE("Static groups differ from dynamic ones after the first group, and stale from updated ones (card 03.8)") {
  const Layer layer(11, 48, 25);
  const auto grouped = [&](const char* key) {
    MethodOptions o{{"bits", "4"}, {"group", "16"}};
    if (*key) o.set(key, "1");
    return gptq(layer.problem(), o).dense;
  };
  const Tensor dynamic = grouped(""), fixed = grouped("static_groups"), stale = grouped("stale_groups");
  for (std::int64_t i = 0; i < 11; ++i)
    for (std::int64_t j = 0; j < 16; ++j) {
      CHECK(at(dynamic, i, j) == at(fixed, i, j));
      CHECK(at(dynamic, i, j) == at(stale, i, j));
    }
  CHECK(distance(dynamic, fixed) > 1e-3);
  CHECK(distance(dynamic, stale) > 1e-3);
}

TEST_CASE("The reported error is that of the outputs") {
  const Layer layer(9, 30, 26);
  const LayerResult r = gptq(layer.problem(), {{"bits", "3"}});
  const Tensor y = matmul(layer.x, Trans::no, layer.w, Trans::yes), z = matmul(layer.x, Trans::no, r.dense, Trans::yes);
  CHECK(r.error == doctest::Approx(nmse(z, y)).epsilon(1e-10));
  LayerProblem blind = layer.problem();
  blind.stats = nullptr;
  const LayerResult b = rtn(blind, {{"bits", "3"}});
  CHECK(b.error == doctest::Approx(nmse(b.dense, layer.w)).epsilon(1e-10));
}

TEST_CASE("Options that mean nothing are refused") {
  CHECK_THROWS_TEXT(usage, "actorder", make_method("gptq", {{"actorder", "1"}}));
  CHECK_THROWS_TEXT(usage, "--bits 5", make_method("gptq", {{"bits", "5"}}));
  CHECK_THROWS_TEXT(usage, "--bits: four", make_method("gptq", {{"bits", "four"}}));
  CHECK_THROWS_TEXT(usage, "--group-size 0", make_method("gptq", {{"group", "0"}}));
  CHECK_THROWS_TEXT(usage, "--percdamp", make_method("gptq", {{"damp", "-1"}}));
  CHECK_THROWS_TEXT(usage, "--block-size", make_method("gptq", {{"block", "0"}}));
  CHECK_THROWS_TEXT(usage, "--sym: 2", make_method("rtn", {{"sym", "2"}}));
  CHECK_THROWS_TEXT(usage, "--act-order", make_method("magnitude", {{"act_order", "1"}}));
  CHECK_THROWS_TEXT(usage, "--sym", make_method("sparsegpt", {{"sym", "1"}}));
  CHECK_THROWS_TEXT(usage, "none of", make_method("obc"));
}
