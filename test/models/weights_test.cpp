#include "models/weights/formats.h"

#include <array>
#include <string>
#include <vector>

#include "models/packed.h"
#include "ops/frozen_linear.h"
#include "ops/reduce.h"
#include "test/gradcheck.h"
#include "test/ops/sparse_cases.h"

namespace sinter {
namespace {

using test::distance;
using test::randn;

constexpr std::int64_t kOut = 70, kIn = 50;

Tensor codes_below(std::int64_t rows, std::int64_t cols, std::uint64_t limit) {
  Tensor t = Tensor::empty({rows, cols}, DType::u8);
  std::uint64_t i = 0;
  for (auto& v : t.mutable_data<std::uint8_t>()) v = std::uint8_t(Rng{4, 4}.below(i++, limit));
  return t;
}

FrozenWeightPtr grouped(int bits, std::int64_t group, bool order, DType scale = DType::f32) {
  PackedInt w{
      .rows = kOut, .cols = kIn, .group = group, .bits = bits, .codes = {}, .scale = {}, .zero = {}, .order = {}};
  w.codes = pack_codes(codes_below(kOut, kIn, 1u << bits), bits);
  w.zero = codes_below(kOut, w.groups(), 1u << bits);
  w.scale = randn({kOut, w.groups()}, 3, DType::f32);
  for (float& v : w.scale.mutable_data<float>()) v /= float(1 << bits);
  if (order) {
    std::vector<std::int32_t> p;
    for (std::int32_t j = 0; j < kIn; ++j) p.push_back((j * 7 + 3) % std::int32_t(kIn));
    w.order = Tensor::of<std::int32_t>({kIn}, p);
  }
  w.scale = cast(w.scale, scale);
  return freeze_grouped_int(std::move(w));
}

struct Named {
  std::string name;
  FrozenWeightPtr weight;
};
std::vector<Named> every_format() {
  std::vector<Named> all;
  for (const DType d : {DType::f64, DType::f32, DType::f16, DType::bf16})
    all.push_back({"dense " + std::string(info(d).name), freeze_dense(randn({kOut, kIn}, 1, d))});
  for (const int bits : {2, 3, 4, 8})
    for (const std::int64_t group : {std::int64_t(16), kIn})
      for (const bool order : {false, true})
        all.push_back({"grouped_int " + std::to_string(bits) + (order ? " ordered" : ""), grouped(bits, group, order)});
  for (const int bits : {2, 3, 4, 8})
    all.push_back({"grouped_int f16 " + std::to_string(bits), grouped(bits, 16, bits == 3, DType::f16)});
  for (const KeptPattern p : {KeptPattern{}, {2, 4}, {4, 8}, {2, 8}, {1, 4}})
    for (const test::SparseCase& c : {test::SparseCase{kOut, p.of ? 56 : kIn, p, 0.5, DType::f16},
                                      {kOut, p.of ? 56 : kIn, p, 0.5, DType::f32, 3, 16, DType::f16},
                                      {kOut, p.of ? 56 : kIn, p, 0.5, DType::f32, 2, 16, DType::f32, true}})
      all.push_back({test::text_of(c), freeze_sparse(test::make_sparse(c).matrix)});
  for (const double density : {0., 0.03, 1.})
    all.push_back({"bitmap", freeze_sparse(test::make_sparse({kOut, kIn, {}, density, DType::bf16}).matrix)});
  return all;
}

// f is called for every format, both types of activation, few rows and many.
template <class F>
void each(F f) {
  for (const Named& n : every_format())
    for (const DType d : {DType::f32, DType::f64})
      for (const std::int64_t T : {1, 5, 30}) {
        CAPTURE(n.name);
        CAPTURE(T);
        f(*n.weight, d, T);
      }
}
double tolerance(DType d) { return d == DType::f32 ? 4e-5 : 1e-12; }  // sums of up to 70 products of order 1 to 10

}  // namespace

TEST_CASE("every format: the product and the transposed product are those of the dense matrix") {
  each([](const FrozenWeight& w, DType d, std::int64_t T) {
    const Tensor x = randn({T, w.in_features()}, 1, d), dy = randn({T, kOut}, 2, d), bias = randn({kOut}, 3, d);
    const Tensor dense = w.dense(w.all(), d);
    Tensor want = Tensor::zeros({T, kOut}, d);
    const Epilogue e{bias, Activation::silu};
    gemm(x, Trans::no, dense, Trans::yes, want, e);
    CHECK(distance(apply(w, x, e), want) < tolerance(d));
    CHECK(distance(apply_transposed(w, dy), matmul(dy, Trans::no, dense, Trans::no)) < tolerance(d));
  });
}

TEST_CASE("every format: row ranges are slices, written in place into views with beta") {
  each([](const FrozenWeight& w, DType d, std::int64_t T) {
    const Tensor x = randn({T, w.in_features()}, 1, d), dy = randn({T, kOut}, 2, d), bias = randn({kOut}, 3, d);
    const Tensor dense = w.dense(w.all(), d);
    Tensor y = test::ones({T, kOut + 4}, d), want = test::ones({T, kOut + 4}, d);
    Tensor dx = test::ones({T, w.in_features()}, d), dwant = dx.clone();
    for (const Rows r : {Rows{0, 33}, Rows{33, 40}, Rows{40, 40}, Rows{40, kOut}}) {
      const Epilogue e{bias.rows(r.begin, r.end), Activation::silu, 2};
      w.apply(x, r, View(y).col_range(r.begin + 2, r.end + 2), e, Compute::f32);
      gemm(x, Trans::no, dense.rows(r.begin, r.end), Trans::yes, View(want).col_range(r.begin + 2, r.end + 2), e);
      const ConstView part = ConstView(dy).col_range(r.begin, r.end);
      w.apply_transposed(part, r, dx, 0.5, Compute::f32);
      gemm(part, Trans::no, dense.rows(r.begin, r.end), Trans::no, dwant, {.beta = 0.5});
      CHECK(test::same_bits(w.dense(r, d).clone(), dense.rows(r.begin, r.end).clone()));
    }
    CHECK(distance(y, want) < tolerance(d));
    CHECK(distance(dx, dwant) < tolerance(d));
  });
}

TEST_CASE("every format: bf16 arithmetic rounds both factors of many rows, and errs no more on a few") {
  const auto round = [](const Tensor& t) { return cast(cast(t, DType::bf16), DType::f32); };
  const auto size = [](const Tensor& t) {
    Tensor a = t.clone();
    for (float& v : a.mutable_data<float>()) v = std::abs(v);
    return a;
  };
  for (const Named& n : every_format())
    for (const std::int64_t T : {3, 40}) {
      CAPTURE(n.name);
      CAPTURE(T);
      const Tensor dense = n.weight->dense(n.weight->all(), DType::f32).clone();
      const auto check = [&](const Tensor& got, const Tensor& x, Trans trans) {
        if (T == 40) {
          CHECK(distance(got, matmul(round(x), Trans::no, round(dense), trans)) < tolerance(DType::f32));
          return;
        }
        // Each factor moves by at most 2^-9 of itself.
        const Tensor exact = matmul(x, Trans::no, dense, trans), terms = matmul(size(x), Trans::no, size(dense), trans);
        for (std::int64_t i = 0; i < got.numel(); ++i)
          REQUIRE(std::abs(test::value_at(got, i) - test::value_at(exact, i)) <
                  0x1.01p-8 * test::value_at(terms, i) + tolerance(DType::f32));
      };
      const Tensor x = randn({T, n.weight->in_features()}, 1, DType::f32), dy = randn({T, kOut}, 2, DType::f32);
      check(apply(*n.weight, x, {}, Compute::bf16), x, Trans::yes);
      check(apply_transposed(*n.weight, dy, Compute::bf16), dy, Trans::no);
    }
}

TEST_CASE("every format: gathered rows are rows of the dense matrix, and packing and loading is bit-equal") {
  for (const Named& n : every_format()) {
    CAPTURE(n.name);
    const FrozenWeight& w = *n.weight;
    for (const DType d : {DType::f32, DType::f64}) {
      const Tensor dense = w.dense(w.all(), d), picked = w.gather(std::array{69, 0, 69}, d);
      CHECK(distance(picked.rows(0, 1), dense.rows(69, 70)) == 0);
      CHECK(distance(picked.rows(1, 2), dense.rows(0, 1)) == 0);
      CHECK(distance(picked.rows(2, 3), dense.rows(69, 70)) == 0);
    }
    CHECK_THROWS_CODE(shape, w.gather(std::array{70}));
    CHECK_THROWS_CODE(shape, w.gather(std::array{-1}));
    const Packed packed = w.pack();
    const FrozenWeightPtr again = load_packed(packed, "layer");
    const Packed repacked = again->pack();
    CHECK((repacked.tag == packed.tag && repacked.version == packed.version && repacked.fields == packed.fields));
    REQUIRE(repacked.parts.size() == packed.parts.size());
    for (const auto& [name, part] : packed.parts) CHECK(test::same_bits(repacked.parts.at(name), part));
    CHECK(test::same_bits(again->dense(again->all(), DType::f32).clone(), w.dense(w.all(), DType::f32).clone()));
    CHECK(test::same_bits(w.to(Device{})->dense(w.all(), DType::f32).clone(), w.dense(w.all(), DType::f32).clone()));
  }
}

TEST_CASE("every format: the gradient through frozen_linear agrees with differences") {
  for (const Named& n : every_format()) {
    CAPTURE(n.name);
    const Tensor x = randn({4, n.weight->in_features()}, 1), bias = randn({kOut}, 2);
    const double error = test::grad_error([&](auto& v) { return sum_sq(frozen_linear(v[0], n.weight, bias)); }, {x});
    CHECK(error < test::kGradTolerance);
  }
}

TEST_CASE("stored bytes are those of the tensors") {
  CHECK(stored_bytes(*freeze_dense(randn({8, 16}, 1, DType::bf16))) == 8 * 16 * 2);
  CHECK(stored_bytes(*grouped(4, 16, false)) == kOut * 25 + kOut * 4 * (4 + 1));
}

TEST_CASE("what a format cannot be loaded from is an input error that names the layer") {
  Packed good = grouped(4, 16, false)->pack();
  const auto changed = [&](auto change) {
    Packed p = good;
    change(p);
    return load_packed(p, "blocks.0.q_proj");
  };
  CHECK_THROWS_TEXT(input, "blocks.0.q_proj: unknown weight format \"magic\"",
                    changed([](Packed& p) { p.tag = "magic"; }));
  CHECK_THROWS_TEXT(input, "has version 3", changed([](Packed& p) { p.version = 3; }));
  CHECK_THROWS_TEXT(input, "has version 0", changed([](Packed& p) { p.version = 0; }));
  CHECK_THROWS_TEXT(input, "blocks.0.q_proj: grouped_int weight: tensor \"zero\" is missing",
                    changed([](Packed& p) { p.parts.erase("zero"); }));
  CHECK_THROWS_TEXT(input, "tensor \"codes\"", changed([](Packed& p) { p.parts.erase("codes"); }));
  CHECK_THROWS_TEXT(input, "unknown tensor \"g_idx\"",
                    changed([](Packed& p) { p.parts["g_idx"] = Tensor::zeros({2}, DType::i32); }));
  CHECK_THROWS_TEXT(input, "unknown field \"rows\"", changed([](Packed& p) { p.fields["rows"] = 1; }));
  CHECK_THROWS_TEXT(input, "field \"cols\" is missing", changed([](Packed& p) { p.fields.erase("cols"); }));
  CHECK_THROWS_TEXT(input, "field \"bits\" is 4294967300",
                    changed([](Packed& p) { p.fields["bits"] = (std::int64_t(1) << 32) + 4; }));
  CHECK_THROWS_TEXT(input, "expected u8 [70, 13]", changed([](Packed& p) {
                      p.fields["cols"] = 25;
                      p.fields["group"] = 8;
                    }));
  CHECK_THROWS_TEXT(input, "has 70 x -3", changed([](Packed& p) { p.fields["cols"] = -3; }));
  CHECK_THROWS_TEXT(input, "tensor \"weight\"",
                    load_packed({"dense", 1, {}, {{"weight", Tensor::zeros({3}, DType::f32)}}}, "x"));
  CHECK_THROWS_TEXT(input, "tensor \"weight\"",
                    load_packed({"dense", 1, {}, {{"weight", Tensor::zeros({3, 3}, DType::u8)}}}, "x"));
  CHECK_THROWS_TEXT(input, "exactly the tensor", load_packed({"dense", 1, {}, {}}, "x"));
}

}  // namespace sinter
