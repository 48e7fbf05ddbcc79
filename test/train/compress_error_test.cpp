// What a result says of itself: its error, and what went wrong.
#include "models/weights/formats.h"
#include "test/train/compress_cases.h"
#include "train/compress/plain.h"
#include "train/compress/result.h"

using namespace sinter;
using namespace sinter::test;

namespace {

struct Case {
  const char* method;
  MethodOptions options;
  Sparsity sparsity;
};

const Case kCases[] = {
    {"sparsegpt", {}, Fraction{0.5}},
    {"sparsegpt", {}, KeepOf{2, 4}},
    {"sparsegpt", {{"act_order", "1"}}, Fraction{0.75}},
    {"sparsegpt", {{"bits", "4"}}, Fraction{0.5}},
    {"sparsegpt", {{"bits", "4"}, {"group", "16"}, {"static_groups", "1"}, {"act_order", "1"}}, Fraction{0.5}},
    {"gptq", {{"bits", "4"}}, Unpruned{}},
    {"gptq", {{"bits", "8"}, {"act_order", "1"}}, Unpruned{}},
    {"gptq", {{"bits", "3"}, {"group", "24"}}, Unpruned{}},
    {"wanda", {}, Fraction{0.5}},
    {"wanda", {{"bits", "4"}}, KeepOf{2, 4}},
    {"magnitude", {}, Fraction{0.5}},
    {"rtn", {{"bits", "4"}}, Unpruned{}},
};

// tr(W H Wᵀ) from the outputs.
double energy_of(const Tensor& w, const Tensor& x) {
  const Tensor y = matmul(x, Trans::no, w, Trans::yes);
  double sum = 0;
  for (std::int64_t i = 0; i < y.numel(); ++i) sum += 2 * value_at(y, i) * value_at(y, i);
  return sum;
}

}  // namespace

TEST_CASE("The error from the sweep's loss and the outputs' energy is that of the explicit traces") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const std::int64_t tokens : {200, 40})  // the latter rests on the damping
      for (const bool dead : {false, true}) {
        Layer layer(70, 96, 50, dtype, tokens);
        if (dead)
          visit_float(dtype, "x", [&]<class T>() {
            for (std::int64_t t = 0; t < tokens; ++t)
              for (const std::int64_t j : {0, 31, 95}) layer.x.mutable_data<T>()[std::size_t(t * 96 + j)] = 0;
          });
        layer.stats = stats_of(layer.x);
        for (const auto& [method, options, sparsity] : kCases) {
          LayerProblem p = layer.problem(sparsity);
          p.energy = energy_of(layer.w, layer.x);
          const LayerResult r = make_method(method, options)->compress(p);
          CAPTURE(method);
          CAPTURE(tokens);
          CHECK(
              r.error ==
              doctest::Approx(output_error(layer.w, r.dense, &layer.stats)).epsilon(dtype == DType::f32 ? 1e-4 : 1e-9));
          CHECK(r.dead == (dead ? 3 : 0));
          p.energy.reset();
          CHECK(make_method(method, options)->compress(p).error ==
                doctest::Approx(r.error).epsilon(dtype == DType::f32 ? 1e-4 : 1e-9));
        }
      }
}

TEST_CASE("The error includes what rounding to the stored type adds") {
  for (const DType store : {DType::f16, DType::bf16})
    for (const double p : {0., 0.05, 0.5}) {  // without zeros there is nothing but the rounding
      const Layer layer(70, 96, 51, DType::f32);
      LayerProblem problem = layer.problem(Fraction{p});
      problem.store = store;
      problem.energy = energy_of(layer.w, layer.x);
      const LayerResult r = make_method("sparsegpt")->compress(problem);
      CAPTURE(p);
      CHECK(r.error > 0);
      CHECK(r.error == doctest::Approx(output_error(layer.w, r.dense, &layer.stats)).epsilon(0.002));
    }
}

TEST_CASE("A Gram matrix that is used up leaves the result and its error, for all that share the factor") {
  const Layer layer(70, 96, 58, DType::f32);
  for (const auto& [method, options, sparsity] : kCases) {
    const auto made = make_method(method, options);
    if (!made->needs().gram) continue;
    LayerProblem p = layer.problem(sparsity);
    p.energy = energy_of(layer.w, layer.x);
    const LayerResult kept = made->compress(p);
    LayerStats stats = stats_of(layer.x);
    FactorMemo memo;
    p.stats = p.spend = &stats;
    p.memo = &memo;
    for (int linear = 0; linear < 2; ++linear) {
      const LayerResult r = made->compress(p);
      CHECK_FALSE(stats.gram);
      CHECK(same_bits(r.dense, kept.dense));
      CHECK(r.error == doctest::Approx(kept.error).epsilon(1e-4));
      CHECK(r.over_plain == 0);
    }
  }
}

TEST_CASE("A result says how its layer was solved: damping, dead columns, few tokens") {
  const Layer layer(8, 24, 52, DType::f32, 20);
  const LayerResult few = make_method("gptq")->compress(layer.problem());
  CHECK(few.few_tokens);
  CHECK(few.damp == 0.01);
  CHECK(few.ladder == 0);
  CHECK(remarks(few).empty());
  const Layer enough(8, 24, 53, DType::f32, 24);
  CHECK_FALSE(make_method("gptq")->compress(enough.problem()).few_tokens);

  LayerResult bad = few;
  bad.dead = 3;
  bad.damp = 0.1;
  bad.ladder = 1;
  bad.over_plain = 1.5;
  const auto said = remarks(bad);
  REQUIRE(said.size() == 3);
  CHECK(said[0] == "3 of its inputs are zero in all calibration windows");
  CHECK(said[1] == "the Hessian could not be factored; damping raised to 0.1");
  CHECK(said[2].find("1.5 times the error of doing without") != std::string::npos);
  bad.ladder = 4;
  CHECK(remarks(bad)[1].ends_with("and f64 taken"));
}

TEST_CASE("A sweep is compared with doing without it: the same zeros and grids, and no updates") {
  for (const std::int64_t rows : {5, 16})  // all rows are the sample
    for (const auto& [method, options, sparsity] : kCases) {
      if (std::string(method) == "magnitude" || std::string(method) == "rtn") continue;
      const Layer layer(rows, 96, 54);
      const LayerResult r = make_method(method, options)->compress(layer.problem(sparsity));
      if (r.damp == 0) {
        CHECK(r.over_plain == 0);  // Wanda alone has no sweep
        continue;
      }
      CAPTURE(method);
      CHECK(r.over_plain > 0.05);
      CHECK(r.over_plain < 1);
    }
  // Pruning alone, where the plain result is the weight under the mask
  const Layer layer(16, 96, 55);
  const LayerResult r = make_method("sparsegpt")->compress(layer.problem(Fraction{0.5}));
  Tensor plain = layer.w.clone();
  for (std::int64_t i = 0; i < plain.numel(); ++i)
    if (value_at(r.dense, i) == 0) plain.mutable_data<double>()[std::size_t(i)] = 0;
  CHECK(r.over_plain == doctest::Approx(r.error / output_error(layer.w, plain, &layer.stats)).epsilon(1e-10));
}

TEST_CASE("A sweep with the factor of another Hessian is seen to be worse than none") {
  const Layer layer(40, 96, 56, DType::f32);
  const Layer other(40, 96, 90, DType::f32);
  ObsOptions o;
  o.sparsity = Fraction{0.5};
  for (const Layer* of : {&layer, &other}) {
    const Tensor root = factorise(of->stats.gram, {}, "layer").root;
    const double ratio = over_plain(layer.w, solve_obs(layer.w, root, o, "layer"), {}, layer.stats.gram);
    CHECK((ratio > 1.05) == (of == &other));
  }
}

TEST_CASE("What a method cannot do is refused with the flag that asked for it") {
  const Layer layer(4, 24, 57, DType::f32);
  const auto refused = [&](const char* method, const MethodOptions& o, const Sparsity& s, const char* text) {
    const auto made = make_method(method, o);
    CHECK_THROWS_TEXT(usage, text, made->check(s, 24, "block.q"));
    CHECK_THROWS_TEXT(usage, text, made->compress(layer.problem(s)));
  };
  refused("sparsegpt", {{"act_order", "1"}}, KeepOf{2, 4}, "--act-order does not go with --pattern 2:4");
  refused("sparsegpt", {{"bits", "4"}, {"group", "6"}}, KeepOf{2, 4}, "--group-size 6");
  refused("wanda", {}, KeepOf{3, 7}, "--pattern 3:7");
  refused("wanda", {{"variant", "1"}}, KeepOf{2, 4}, "--sparsity");
  refused("magnitude", {}, KeepOf{3, 5}, "--pattern 3:5");
  CHECK_NOTHROW(make_method("wanda", {{"bits", "4"}, {"act_order", "1"}})->check(KeepOf{2, 4}, 24, "block.q"));
  CHECK_NOTHROW(make_method("sparsegpt", {{"bits", "4"}, {"group", "6"}, {"static_groups", "1"}})
                    ->check(KeepOf{2, 4}, 24, "block.q"));
}
