#include "train/compress/stats.h"

#include "models/checkpoint.h"
#include "models/weights/formats.h"
#include "test/shared_data.h"
#include "test/train/compress_cases.h"

using namespace sinter;
using namespace sinter::test;

namespace {

Linear linear(std::int64_t m, std::int64_t n, const char* name = "layer") {
  return {name, freeze_dense(randn({m, n}, 70, DType::f32))};
}

std::shared_ptr<const LayerStats> collected(Linear& l, const Tensor& x, std::int64_t tokens, std::int64_t at_once) {
  Linear* const wanted[] = {&l};
  StatsCollector stats({.column_sq = true, .gram = true}, wanted, tokens);
  for (std::int64_t t = 0; t < x.shape()[0]; t += tokens * at_once)
    (void)l.forward({.observer = &stats}, x.rows(t, std::min(x.shape()[0], t + tokens * at_once)));
  stats.finish();
  return stats.of(l);
}

struct Observed {
  Observed(const char* name, StatsRequest request) : model(load_model(golden(std::string("models/") + name))) {
    model->each_linear([&](Linear& l) { linears.push_back(&l); });
    stats.emplace(request, linears, 6);
    const std::vector<std::int32_t> ids{1, 5, 9, 33, 2, 70, 11, 4, 18, 25, 60, 3};
    const Context ctx{.observer = &*stats};
    const Layout layout = Layout::equal(2, 6);
    (void)model->run(ctx, model->enter(ctx, model->embed(ctx, ids), layout), model->all(), layout);
    stats->finish();
  }
  std::shared_ptr<const LayerStats> of(const std::string& end) const {
    for (const Linear* l : linears)
      if (l->name().ends_with(end)) return stats->of(*l);
    return nullptr;
  }
  std::unique_ptr<CausalLM> model;
  std::vector<Linear*> linears;
  std::optional<StatsCollector> stats;
};

}  // namespace

TEST_CASE("The second moments equal the batch formula for any chunking of the sequences (card 01.1)") {
  const std::int64_t sequences = 14, tokens = 9, n = 50;
  const Tensor x = correlated_inputs(sequences * tokens, n, 71, DType::f32);
  const Tensor exact = matmul(cast(x, DType::f64), Trans::yes, cast(x, DType::f64), Trans::no);
  Linear l = linear(3, n);
  for (const std::int64_t at_once : {1, 2, 7, 14}) {
    const auto s = collected(l, x, tokens, at_once);
    CHECK(s->tokens == sequences * tokens);
    CHECK(s->sequences == sequences);
    double worst = 0, largest = 0;
    for (std::int64_t i = 0; i < n * n; ++i) {
      const double h = 2. / double(sequences) * value_at(exact, i);
      worst = std::max(worst, std::abs(value_at(s->gram, i) - h));
      largest = std::max(largest, std::abs(h));
      if (i % (n + 1) == 0) CHECK(value_at(s->column_sq, i / (n + 1)) == doctest::Approx(h / 2).epsilon(1e-5));
    }
    CHECK(worst < 1e-5 * largest);  // sums of 126 products in f32
  }
}

TEST_CASE("Linears with the same input share one Gram matrix: q, k, v and gate, up, but not o and down") {
  for (const char* name : {"llama_gqa_tied", "opt_pre_norm"}) {
    const Observed o(name, {.gram = true});
    CHECK(o.of("layers.1.self_attn.q_proj") == o.of("layers.1.self_attn.k_proj"));
    CHECK(o.of("layers.1.self_attn.q_proj") == o.of("layers.1.self_attn.v_proj"));
    CHECK(o.of("layers.1.self_attn.q_proj") != o.of("layers.0.self_attn.q_proj"));
    CHECK(o.of("layers.0.self_attn.q_proj")->tokens == 12);
    const bool llama = std::string(name).starts_with("llama");
    CHECK(o.of("layers.1.self_attn.q_proj") !=
          o.of(llama ? "layers.1.self_attn.o_proj" : "layers.1.self_attn.out_proj"));
    if (llama) {
      CHECK(o.of("layers.1.mlp.gate_proj") == o.of("layers.1.mlp.up_proj"));
      CHECK(o.of("layers.1.mlp.gate_proj") != o.of("layers.1.mlp.down_proj"));
    } else {
      CHECK(o.of("layers.1.fc1") != o.of("layers.1.fc2"));
    }
  }
}

TEST_CASE("What is shared is bit for bit what each linear alone would collect (card 01.2)") {
  const Observed all("llama_gqa_tied", {.gram = true});
  Linear* const only[] = {all.linears[2]};  // v_proj of block 0
  StatsCollector stats({.gram = true}, only, 6);
  const std::vector<std::int32_t> ids{1, 5, 9, 33, 2, 70, 11, 4, 18, 25, 60, 3};
  const Context ctx{.observer = &stats};
  const Layout layout = Layout::equal(2, 6);
  (void)all.model->run(ctx, all.model->enter(ctx, all.model->embed(ctx, ids), layout), {0, 1}, layout);
  stats.finish();
  CHECK(same_bits(stats.of(*only[0])->gram, all.of("layers.0.self_attn.v_proj")->gram));
  CHECK(same_bits(all.of("layers.0.self_attn.q_proj")->gram, all.of("layers.0.self_attn.v_proj")->gram));
}

TEST_CASE("Only what is asked for is collected, and a linear that never ran is an error") {
  const Observed norms("llama_gqa_tied", {.column_sq = true});
  CHECK(norms.of("layers.0.mlp.down_proj")->column_sq);
  CHECK_FALSE(norms.of("layers.0.mlp.down_proj")->gram);
  Linear l = linear(3, 4, "idle");
  Linear* const wanted[] = {&l};
  StatsCollector stats({.gram = true}, wanted, 5);
  stats.finish();
  CHECK_THROWS_TEXT(unsupported, "idle", stats.of(l));
}

TEST_CASE("A linear that sees the same tensor twice counts it twice; one that stops sharing is an error") {
  Linear a = linear(3, 4, "a"), b = linear(3, 4, "b");
  Linear* const wanted[] = {&a, &b};
  const Tensor x = randn({5, 4}, 72, DType::f32), other = randn({5, 4}, 73, DType::f32),
               y = randn({5, 3}, 74, DType::f32);
  StatsCollector stats({.gram = true}, wanted, 5);
  stats.on_linear(a, x, y);
  stats.on_linear(a, x, y);
  CHECK(stats.of(a)->tokens == 10);
  stats.on_linear(b, x, y);
  CHECK(stats.of(b) == stats.of(a));
  CHECK_THROWS_TEXT(unsupported, "b", stats.on_linear(b, other, y));
}

TEST_CASE("Means are sums over all tokens per sequence, variances the mean of each sequence's own") {
  const std::int64_t sequences = 6, tokens = 8, n = 5;
  Tensor x = randn({sequences * tokens, n}, 75);
  for (std::int64_t i = 0; i < x.numel(); ++i)  // far apart, so that the variance between sequences would show
    x.mutable_data<double>()[std::size_t(i)] += 10 * double(i / n / tokens);
  Linear l = linear(3, n);
  Linear* const wanted[] = {&l};
  for (const std::int64_t at_once : {1, 3, 6}) {
    StatsCollector stats({.mean = true, .variance = true}, wanted, tokens);
    for (std::int64_t t = 0; t < x.shape()[0]; t += tokens * at_once)
      stats.on_linear(l, x.rows(t, t + tokens * at_once), Tensor::zeros({tokens * at_once, 3}, DType::f64));
    stats.finish();
    const auto s = stats.of(l);
    CHECK(s->sequences == sequences);
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0, variance = 0;
      for (std::int64_t q = 0; q < sequences; ++q) {
        double mean = 0, square = 0;
        for (std::int64_t t = q * tokens; t < (q + 1) * tokens; ++t) mean += at(x, t, j) / double(tokens);
        for (std::int64_t t = q * tokens; t < (q + 1) * tokens; ++t) square += std::pow(at(x, t, j) - mean, 2);
        sum += mean * double(tokens);
        variance += square / double(tokens) / double(sequences);
      }
      CHECK(value_at(s->mean, j) == doctest::Approx(sum / double(sequences)).epsilon(1e-12));
      CHECK(value_at(s->variance, j) == doctest::Approx(variance).epsilon(1e-12));
    }
    CHECK_FALSE(s->gram);
  }
}

TEST_CASE("The energy of a linear is that of its outputs without the bias, also where the inputs are shared") {
  Linear plain("plain", freeze_dense(randn({6, 9}, 76, DType::f32))),
      biased("biased", freeze_dense(randn({4, 9}, 77, DType::f32)), Weight(randn({4}, 78, DType::f32)));
  Linear* const wanted[] = {&plain, &biased};
  const Tensor x = correlated_inputs(40, 9, 79, DType::f32);
  StatsCollector stats({.gram = true}, wanted, 10);
  for (std::int64_t t = 0; t < 40; t += 20) {
    const Tensor part = x.rows(t, t + 20).clone();
    for (const Linear* l : wanted) (void)l->forward({.observer = &stats}, part);
  }
  stats.finish();
  CHECK(stats.of(plain) == stats.of(biased));
  for (const Linear* l : wanted) {
    const double exact = 2 * quadratic_loss(l->dense(), Tensor::zeros(l->dense().shape(), DType::f32),
                                            cast(stats.of(*l)->gram, DType::f64));
    CHECK(stats.energy(*l) == doctest::Approx(exact).epsilon(1e-5));
  }
}

TEST_CASE("Inputs that are not finite are found with their window and column; half a sequence is an error") {
  Linear l = linear(3, 4, "block.q");
  Linear* const wanted[] = {&l};
  for (const float bad : {NAN, INFINITY, 1e30f}) {  // the last one's square is too large
    Tensor x = randn({30, 4}, 80, DType::f32);
    x.mutable_data<float>()[17 * 4 + 2] = bad;
    StatsCollector stats({.column_sq = true}, wanted, 5);
    for (std::int64_t t = 0; t < 30; t += 10) stats.on_linear(l, x.rows(t, t + 10), Tensor::zeros({10, 3}, DType::f32));
    stats.finish();
    const auto s = stats.of(l);
    REQUIRE(s->not_finite);
    CHECK(s->not_finite->sequence == 3);
    CHECK(s->not_finite->column == 2);
    CHECK_THROWS_TEXT(numeric, "block.q: the calibration inputs of column 2 are not finite, first in window 3",
                      check_finite(*s, l.name()));
  }
  StatsCollector stats({.column_sq = true}, wanted, 5);
  CHECK_THROWS_TEXT(shape, "whole sequences",
                    stats.on_linear(l, randn({7, 4}, 81, DType::f32), randn({7, 3}, 82, DType::f32)));
}
