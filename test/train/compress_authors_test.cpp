// One linear at a time against the published code of SparseGPT, GPTQ and Wanda (test/golden/README.md).
#include "core/tensor_file.h"
#include "test/shared_data.h"
#include "test/train/compress_cases.h"

using namespace sinter;
using namespace sinter::test;

namespace {

constexpr const char* kFiles[] = {"24x40", "21x37", "40x64", "21x172", "16x160"};

struct Golden {
  explicit Golden(const std::string& shape) : file(golden("solver/" + shape + ".safetensors")), w(file.tensor("w")) {
    const Tensor x = cast(file.tensor("x"), DType::f32);  // [sequences, tokens, n]
    stats = stats_of(x.reshape({x.shape()[0] * x.shape()[1], x.shape()[2]}), x.shape()[0]);
  }
  LayerResult compress(const std::string& method, const MethodOptions& o, Sparsity s = Unpruned{}) const {
    LayerProblem p;
    p.name = method;
    p.weight = w;
    p.stats = &stats;
    p.sparsity = s;
    return make_method(method, o)->compress(p);
  }
  TensorFile file;
  Tensor w;
  LayerStats stats;
};

double share(std::int64_t equal, std::int64_t all) { return double(equal) / double(all); }

double zero_agreement(const Tensor& a, const Tensor& b) {
  std::int64_t equal = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) equal += (value_at(a, i) == 0) == (value_at(b, i) == 0);
  return share(equal, a.numel());
}

double mask_agreement(const Tensor& result, const Tensor& mask) {
  std::int64_t equal = 0;
  for (std::int64_t i = 0; i < result.numel(); ++i)
    equal += (value_at(result, i) == 0) == (mask.data<std::uint8_t>()[std::size_t(i)] == 1);
  return share(equal, result.numel());
}

// The codes of a result in the weight's own order of columns.
Tensor codes_in_order(const PackedInt& p) {
  const Tensor stored = unpack_codes(p.codes, p.cols, p.bits);
  if (!p.order) return stored;
  Tensor codes = Tensor::empty(stored.shape(), DType::u8);
  for (std::int64_t i = 0; i < p.rows; ++i)
    for (std::int64_t j = 0; j < p.cols; ++j)
      codes.mutable_data<std::uint8_t>()[std::size_t(i * p.cols + p.order.data<std::int32_t>()[std::size_t(j)])] =
          stored.data<std::uint8_t>()[std::size_t(i * p.cols + j)];
  return codes;
}
double code_agreement(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  std::int64_t equal = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    equal += a.data<std::uint8_t>()[std::size_t(i)] == b.data<std::uint8_t>()[std::size_t(i)];
  return share(equal, a.numel());
}

}  // namespace

TEST_CASE("SparseGPT's masks, weights and loss are those of the published code") {
  for (const char* shape : kFiles) {
    const Golden g(shape);
    for (const auto& [name, sparsity] : {std::pair<std::string, Sparsity>("p50", Fraction{0.5}),
                                         {"p75", Fraction{0.75}},
                                         {"2_4", KeepOf{2, 4}},
                                         {"4_8", KeepOf{4, 8}}}) {
      if (!g.file.has("sparsegpt_" + name + ".w")) continue;
      CAPTURE(shape);
      CAPTURE(name);
      const Tensor expected = g.file.tensor("sparsegpt_" + name + ".w");
      CHECK(zero_agreement(g.compress("sparsegpt", {}, sparsity).dense, expected) >= 0.995);
      const LayerResult same = g.compress("sparsegpt", {{"one_more", "1"}}, sparsity);
      CHECK(zero_agreement(same.dense, expected) == 1);
      CHECK(distance(same.dense, expected) < 2e-5);  // f32 rounding, amplified by the updates
      CHECK(same.loss == doctest::Approx(value_at(g.file.tensor("sparsegpt_" + name + ".loss"), 0)).epsilon(1e-4));
    }
  }
}

TEST_CASE("Joint pruning and quantisation is that of the published code") {
  for (const char* shape : kFiles) {
    CAPTURE(shape);
    const Golden g(shape);
    const Tensor expected = g.file.tensor("sparsegpt_p50_b4.w");
    CHECK(zero_agreement(g.compress("sparsegpt", {{"bits", "4"}}, Fraction{0.5}).dense, expected) >= 0.995);
    const LayerResult same = g.compress("sparsegpt", {{"bits", "4"}, {"one_more", "1"}}, Fraction{0.5});
    std::int64_t equal = 0;
    for (std::int64_t i = 0; i < expected.numel(); ++i) equal += value_at(same.dense, i) == value_at(expected, i);
    CHECK(share(equal, expected.numel()) >= 0.99);
    CHECK(same_bits(same.packed->scale, g.file.tensor("sparsegpt_p50_b4.scale")));
    CHECK(same.loss == doctest::Approx(value_at(g.file.tensor("sparsegpt_p50_b4.loss"), 0)).epsilon(0.005));
  }
}

TEST_CASE("GPTQ's codes, grids and loss are those of the published code") {
  const std::pair<std::string, MethodOptions> settings[] = {
      {"b2", {{"bits", "2"}}},
      {"b3", {{"bits", "3"}}},
      {"b4", {{"bits", "4"}}},
      {"b8", {{"bits", "8"}}},
      {"b4_act", {{"act_order", "1"}}},
      {"b4_sym", {{"sym", "1"}}},
      {"b4_g32", {{"group", "32"}, {"stale_groups", "1"}}},
      {"b4_g128", {{"group", "128"}}},
      {"b4_g32_act", {{"group", "32"}, {"stale_groups", "1"}, {"act_order", "1"}}},
      {"b4_g32_static_act", {{"group", "32"}, {"static_groups", "1"}, {"act_order", "1"}}},
  };
  for (const char* shape : kFiles) {
    const Golden g(shape);
    for (const auto& [name, options] : settings) {
      const std::string key = "gptq_" + name;
      if (!g.file.has(key + ".codes")) continue;
      CAPTURE(shape);
      CAPTURE(name);
      const LayerResult r = g.compress("gptq", options);
      CHECK(code_agreement(codes_in_order(*r.packed), g.file.tensor(key + ".codes")) >= 0.99);
      CHECK(distance(r.packed->scale, g.file.tensor(key + ".scale")) < 1e-5);  // of updated weights: f32 rounding
      CHECK(r.loss == doctest::Approx(value_at(g.file.tensor(key + ".loss"), 0)).epsilon(0.005));
    }
  }
}

TEST_CASE("Groups that read the updated weights lose no more than the published code's, over all layers") {
  double ours = 0, theirs = 0;
  for (const char* shape : kFiles) {
    const Golden g(shape);
    if (!g.file.has("gptq_b4_g32.loss")) continue;
    ours += g.compress("gptq", {{"group", "32"}}).loss;
    theirs += value_at(g.file.tensor("gptq_b4_g32.loss"), 0);
  }
  CHECK(ours <= theirs);
}

TEST_CASE("Wanda's masks are those of the published code, and magnitude's but for its one extra zero") {
  for (const char* shape : kFiles) {
    const Golden g(shape);
    for (const auto& [name, sparsity] : {std::pair<std::string, Sparsity>("p50", Fraction{0.5}), {"2_4", KeepOf{2, 4}}})
      for (const std::string method : {"wanda", "magnitude"}) {
        const std::string key = method + "_" + name + ".mask";
        if (!g.file.has(key)) continue;
        CAPTURE(shape);
        CAPTURE(key);
        const Tensor dense = g.compress(method, {}, sparsity).dense;
        CHECK(mask_agreement(dense, g.file.tensor(key)) >= 0.995);
        for (std::int64_t i = 0; i < dense.numel(); ++i)
          if (value_at(dense, i) != 0) CHECK(value_at(dense, i) == value_at(g.w, i));
      }
  }
}
