#include "train/compress/freeze.h"

#include "test/train/compress_cases.h"

namespace sinter {
namespace {

using test::Layer;

constexpr std::int64_t kRows = 24, kCols = 128;

struct Frozen {
  LayerResult result;
  FrozenWeightPtr weight;
};
Frozen compressed(const Sparsity& s, std::string_view method, const MethodOptions& o, DType store = DType::bf16) {
  static const Layer layer(kRows, kCols, 60, DType::f32);
  LayerProblem p = layer.problem(s);
  p.weight = cast(cast(p.weight, store), DType::f32);
  p.store = store;
  Frozen f{make_method(method, o)->compress(p), nullptr};
  f.weight = freeze(f.result, s, store, true);
  return f;
}

void check(const Frozen& f, std::string_view tag, const char* part, DType type, double bits) {
  const Packed p = f.weight->pack();
  CHECK(p.tag == tag);
  REQUIRE(p.parts.contains(part));
  CHECK(p.parts.at(part).dtype() == type);
  CHECK(test::distance(f.weight->dense(f.weight->all()), f.result.dense) == 0);
  CHECK(8 * double(stored_bytes(*f.weight)) / double(kRows * kCols) == doctest::Approx(bits).epsilon(0.02));
}

}  // namespace

TEST_CASE("a pruned weight is stored as its kept values, in the type it had") {
  for (const DType d : {DType::bf16, DType::f16, DType::f32}) {
    const double width = 8 * double(info(d).size);
    check(compressed(Fraction{0.5}, "wanda", {}, d), "bitmap", "values", d, 1 + width / 2);
    check(compressed(Fraction{0.5}, "sparsegpt", {}, d), "bitmap", "values", d, 1 + width / 2);
    check(compressed(KeepOf{2, 4}, "sparsegpt", {}, d), "n_of_m", "values", d, 1 + width / 2);
    check(compressed(KeepOf{2, 8}, "magnitude", {}, d), "n_of_m", "values", d, 1 + width / 4);
  }
}

TEST_CASE("a quantised weight is stored as codes, those of its kept weights where it is pruned too") {
  const MethodOptions four{{"bits", "4"}, {"group", "32"}};
  check(compressed(Unpruned{}, "gptq", four), "grouped_int", "scale", DType::f16, 4 + 24. / 32);
  check(compressed(KeepOf{2, 4}, "sparsegpt", four), "n_of_m", "scale", DType::f16, 1 + 2 + 24. / 32);
  check(compressed(KeepOf{4, 8}, "sparsegpt", {{"bits", "4"}}), "n_of_m", "codes", DType::u8, 3 + 24. / kCols);
  const Frozen f = compressed(Fraction{0.5}, "sparsegpt", four);
  const double kept = 1 - f.result.zeros;  // a weight that fell on zero is stored as one
  check(f, "bitmap", "codes", DType::u8, 1 + 4 * kept + 24. / 32);
}

TEST_CASE("act-order codes keep their groups without the pruned weights") {
  const Layer layer(8, 64, 61, DType::f32);
  const Sparsity half = Fraction{0.5};
  LayerResult r = make_method("gptq", {{"bits", "3"}, {"group", "16"}, {"act_order", "1"}})->compress(layer.problem());
  REQUIRE(r.packed);
  REQUIRE(r.packed->order);
  // Prune every other weight by hand: GPTQ itself does not.
  Tensor codes = unpack_codes(r.packed->codes, 64, 3);
  r.dense = r.dense.clone();
  for (std::int64_t i = 0; i < 8; ++i)
    for (std::int64_t k = 0; k < 64; k += 2) {
      codes.mutable_data<std::uint8_t>()[std::size_t(i * 64 + k)] =
          r.packed->zero.data<std::uint8_t>()[std::size_t(i * 4 + k / 16)];
      r.dense.mutable_data<float>()[std::size_t(i * 64 + r.packed->order.data<std::int32_t>()[std::size_t(k)])] = 0;
    }
  r.packed->codes = pack_codes(codes, 3);
  const FrozenWeightPtr w = freeze(r, half, DType::f32, true);
  CHECK(w->pack().tag == "bitmap");
  CHECK(w->pack().parts.contains("group_of"));
  CHECK(test::distance(w->dense(w->all()), r.dense) == 0);
}

TEST_CASE("what does not get smaller stays as it is") {
  check(compressed(Fraction{0.}, "magnitude", {}), "dense", "weight", DType::bf16, 16);
  check(compressed(Fraction{0.04}, "magnitude", {}), "dense", "weight", DType::bf16, 16);
  check(compressed(KeepOf{4, 4}, "magnitude", {}), "dense", "weight", DType::bf16, 16);
  check(compressed(Fraction{0.04}, "sparsegpt", {{"bits", "3"}}), "grouped_int", "codes", DType::u8, 3 + 24. / kCols);
}

TEST_CASE("zeros that are not as the pattern says are stored by a bitmap") {
  LayerResult r;
  const float w[] = {1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5};
  r.dense = Tensor::of<float>({1, 16}, w);
  const FrozenWeightPtr frozen = freeze(r, KeepOf{2, 4}, DType::f32, true);
  CHECK(frozen->pack().tag == "bitmap");
  CHECK(test::distance(frozen->dense(frozen->all()), r.dense) == 0);
}

TEST_CASE("dense on demand, and for f64 values, which no format holds exactly") {
  const Frozen f = compressed(Fraction{0.5}, "sparsegpt", {{"bits", "4"}});
  CHECK(freeze(f.result, Fraction{0.5}, DType::f32, false)->pack().tag == "dense");
  LayerResult wide;
  wide.dense = Tensor::full({2, 8}, 1 + 1e-12, DType::f64);
  CHECK(freeze(wide, Fraction{0.5}, DType::f32, true)->pack().tag == "dense");
}

}  // namespace sinter
