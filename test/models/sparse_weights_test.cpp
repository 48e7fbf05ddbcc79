#include <nlohmann/json.hpp>

#include "models/checkpoint.h"
#include "models/packed.h"
#include "models/weights/formats.h"
#include "test/ops/sparse_cases.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"

namespace sinter {
namespace {

using test::SparseCase;

FrozenWeightPtr pruned(const SparseCase& c) { return freeze_sparse(test::make_sparse(c).matrix); }

void check_same(const Packed& a, const Packed& b) {
  CHECK((a.tag == b.tag && a.version == b.version && a.fields == b.fields));
  REQUIRE(a.parts.size() == b.parts.size());
  for (const auto& [name, part] : a.parts) CHECK(test::same_bits(b.parts.at(name), part));
}

double bits_per_weight(const FrozenWeight& w) {
  return 8 * double(stored_bytes(w)) / double(w.out_features() * w.in_features());
}

std::int64_t zeros_of(const Tensor& t) { return std::ranges::count(t.data<float>(), 0.f); }

}  // namespace

TEST_CASE("pruned weights pack, load and pack again to the same bytes, whatever their shape") {
  for (const SparseCase& c : test::sparse_cases()) {
    CAPTURE(test::text_of(c));
    const test::SparseMade made = test::make_sparse(c);
    const Packed packed = freeze_sparse(made.matrix)->pack();
    CHECK(packed.tag == (c.pattern.of ? "n_of_m" : "bitmap"));
    const FrozenWeightPtr again = load_packed(packed, "layer");
    check_same(again->pack(), packed);
    CHECK(test::distance(again->dense(again->all(), DType::f64), made.dense) == 0);
  }
}

TEST_CASE("half of the weights take what the formats promise") {
  constexpr DType kHalf = DType::bf16;
  constexpr std::int64_t kRows = 64, kCols = 1024;
  CHECK(bits_per_weight(*pruned({kRows, kCols, {2, 4}, 0, kHalf})) == 9);
  CHECK(bits_per_weight(*pruned({kRows, kCols, {4, 8}, 0, kHalf})) == 9);
  CHECK(bits_per_weight(*pruned({kRows, kCols, {1, 4}, 0, kHalf})) == 5);
  CHECK(bits_per_weight(*pruned({kRows, kCols, {2, 4}, 0, kHalf, 4, 128, DType::f16})) == 1 + 2 + 24. / 128);
  CHECK(bits_per_weight(*pruned({kRows, kCols, {2, 4}, 0, kHalf, 4, kCols, DType::f16})) == 1 + 2 + 24. / kCols);
  // Unstructured: the share that chance kept, and a byte that each row fills up.
  CHECK(bits_per_weight(*pruned({kRows, kCols, {}, 0.5, kHalf})) == doctest::Approx(9).epsilon(0.01));
  CHECK(bits_per_weight(*pruned({kRows, kCols, {}, 0.5, kHalf, 4, 128, DType::f16})) ==
        doctest::Approx(1 + 2 * 15. / 16 + 24. / 128).epsilon(0.02));  // one code in 16 is zero by chance
}

TEST_CASE("f16 scales are version 2 of grouped_int, f32 ones are version 1, and version 1 has no other") {
  SparseCase c{8, 64, {}, 1, DType::f32, 4, 16};
  for (const DType d : {DType::f32, DType::f16}) {
    c.scale = d;
    const FrozenWeightPtr w = freeze_grouped_int(test::pruned_codes(c, test::dropped(c)));
    Packed p = w->pack();
    CHECK(p.version == (d == DType::f32 ? 1 : 2));
    CHECK(stored_bytes(*w) == 8 * 32 + 8 * 4 * (info(d).size + 1));
    check_same(load_packed(p, "layer")->pack(), p);
    p.version = 3 - p.version;
    if (d == DType::f32) CHECK_NOTHROW(static_cast<void>(load_packed(p, "layer")));
    else CHECK_THROWS_TEXT(input, "tensor \"scale\" is f16", load_packed(p, "layer"));
  }
}

TEST_CASE("what a pruned weight cannot be loaded from is an input error that names the layer") {
  const Packed values = pruned({6, 48, {}, 0.5, DType::bf16})->pack(),
               codes = pruned({6, 48, {2, 4}, 0, DType::f32, 4, 16})->pack();
  const auto changed = [](Packed p, auto change) {
    change(p);
    return load_packed(p, "q_proj");
  };
  CHECK_THROWS_TEXT(input, "q_proj: bitmap weight: tensor \"mask\"",
                    changed(values, [](Packed& p) { p.parts.erase("mask"); }));
  CHECK_THROWS_TEXT(input, "tensor \"mask\"",
                    changed(values, [](Packed& p) { p.parts["mask"] = Tensor::zeros({36}, DType::u8); }));
  CHECK_THROWS_TEXT(input, "has version 2", changed(values, [](Packed& p) { p.version = 2; }));
  CHECK_THROWS_TEXT(input, "field \"cols\" is missing", changed(values, [](Packed& p) { p.fields.erase("cols"); }));
  CHECK_THROWS_TEXT(input, "field \"bits\" is missing", changed(values, [](Packed& p) { p.fields.erase("bits"); }));
  CHECK_THROWS_TEXT(input, "field \"bits\" is 4294967300",
                    changed(codes, [](Packed& p) { p.fields["bits"] = (std::int64_t(1) << 32) + 4; }));
  CHECK_THROWS_TEXT(input, "field \"group\" without codes", changed(values, [](Packed& p) { p.fields["group"] = 16; }));
  CHECK_THROWS_TEXT(input, "unknown field \"of\"", changed(values, [](Packed& p) { p.fields["of"] = 4; }));
  CHECK_THROWS_TEXT(input, "unknown tensor \"weight\"",
                    changed(values, [](Packed& p) { p.parts["weight"] = p.parts["values"]; }));
  CHECK_THROWS_TEXT(input, "has 6 x 9223372036854775807 weights",
                    changed(values, [](Packed& p) { p.fields["cols"] = std::numeric_limits<std::int64_t>::max(); }));
  CHECK_THROWS_TEXT(input, "field \"of\" is 0", changed(codes, [](Packed& p) { p.fields["of"] = 0; }));
  CHECK_THROWS_TEXT(input, "field \"of\" is -4", changed(codes, [](Packed& p) { p.fields["of"] = -4; }));
  CHECK_THROWS_TEXT(input, "does not keep 1 of every 4", changed(codes, [](Packed& p) { p.fields["keep"] = 1; }));
  CHECK_THROWS_TEXT(input, "field \"group\" is missing", changed(codes, [](Packed& p) { p.fields.erase("group"); }));
  CHECK_THROWS_TEXT(input, "tensor \"codes\"",
                    changed(codes, [](Packed& p) { p.parts["codes"] = p.parts["codes"].reshape({6 * 12}); }));
  CHECK_THROWS_TEXT(input, "has parts of codes", changed(codes, [](Packed& p) {
                      p.fields["bits"] = 0;
                      p.fields.erase("group");
                    }));
}

TEST_CASE("a saved model loads with the same zeros and the same bytes in every format") {
  const auto model = load_model(test::golden("models/llama_bias"));
  int next = 0;
  model->each_linear([&](Linear& l) {
    SparseCase c{l.out_features(), l.in_features(), next % 2 ? KeptPattern{2, 4} : KeptPattern{}};
    if (next % 3) c.bits = next % 3 == 1 ? 4 : 3, c.group = 8, c.scale = next % 4 ? DType::f16 : DType::f32;
    c.type = next % 4 ? DType::bf16 : DType::f32;
    c.order = next % 5 == 1;
    ++next;
    l.replace(pruned(c));
  });
  const test::TempDir dir;
  copy_model_files(test::golden("models/llama_bias"), dir.path(), Json::object());
  for (const std::uint64_t shard_bytes : {std::uint64_t(1) << 30, std::uint64_t(9000)}) {
    for (const auto& e : std::filesystem::directory_iterator(dir.path()))
      if (e.path().extension() == ".safetensors") std::filesystem::remove(e.path());
    save_weights(*model, dir.path(), {.shard_bytes = shard_bytes});
    const auto again = load_model(dir.path());
    std::vector<const Linear*> loaded;
    again->each_linear([&](Linear& l) { loaded.push_back(&l); });
    std::size_t i = 0;
    model->each_linear([&](Linear& l) {
      CAPTURE(l.name());
      const Linear& other = *loaded.at(i++);
      check_same(other.frozen()->pack(), l.frozen()->pack());
      CHECK(test::same_bits(other.dense(), l.dense()));
      CHECK(zeros_of(other.dense()) >= l.out_features() * l.in_features() / 3);
    });
  }
}

}  // namespace sinter
