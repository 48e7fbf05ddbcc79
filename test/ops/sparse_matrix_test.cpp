#include "ops/sparse_matrix.h"

#include "core/parallel.h"
#include "ops/code_stream.h"
#include "test/ops/sparse_cases.h"

namespace sinter {
namespace {

using test::randn;
using test::SparseCase;
using test::SparseMade;

// f for every case, with the matrix as a source and its dense twin.
template <class F>
void each_case(F f) {
  for (const SparseCase& c : test::sparse_cases()) {
    CAPTURE(test::text_of(c));
    const SparseMade made = test::make_sparse(c);
    f(c, SparseSource(made.matrix, "weight"), made.dense);
  }
}

std::int64_t kept_of(const Tensor& mask) {
  std::int64_t n = 0;
  for (const unsigned byte : mask.data<std::uint8_t>()) n += __builtin_popcount(byte);
  return n;
}

}  // namespace

TEST_CASE("rows, and any piece of them, expand to those of the dense matrix") {
  each_case([](const SparseCase& c, const SparseSource& w, const Tensor& dense) {
    const Tensor narrow = cast(dense, DType::f32);
    for (std::int64_t i = 0; i < c.rows; ++i)
      for (const auto& [col, n] : {std::pair{std::int64_t(0), c.cols}, {c.cols / 3, c.cols / 2}, {c.cols - 1, 1}}) {
        std::vector<double> wide(std::size_t(n), -1.);
        std::vector<float> part(std::size_t(n), -1.f);
        w.expand(i, col, n, wide.data());
        w.expand(i, col, n, part.data());
        for (std::int64_t j = 0; j < n; ++j) {
          const auto at = std::size_t(i * c.cols + col + j);
          REQUIRE(wide[std::size_t(j)] == dense.data<double>()[at]);
          REQUIRE(part[std::size_t(j)] == narrow.data<float>()[at]);
        }
      }
  });
}

TEST_CASE("products and transposed products equal those of the dense matrix to rounding") {
  each_case([](const SparseCase& c, const SparseSource& w, const Tensor& dense) {
    for (const auto& [d, T] : {std::pair{DType::f64, std::int64_t(3)}, {DType::f32, 1}, {DType::f32, 33}}) {
      const Tensor x = randn({T, c.cols}, 3, d), dy = randn({T, c.rows}, 4, d), D = cast(dense, d);
      const std::int64_t b = c.rows / 3, e = c.rows;
      Tensor y = randn({T, c.rows}, 5, d), dx = randn({T, c.cols}, 6, d);
      Tensor ywant = y.clone(), dxwant = dx.clone();
      const ConstView part = ConstView(dy).col_range(b, e);
      strip_product(w, x, {b, e}, View(y).col_range(b, e), {.beta = 0.5}, Compute::f32);
      gemm(x, Trans::no, D.rows(b, e), Trans::yes, View(ywant).col_range(b, e), {.beta = 0.5});
      strip_product_transposed(w, part, {b, e}, dx, -1, Compute::f32);
      gemm(part, Trans::no, D.rows(b, e), Trans::no, dxwant, {.beta = -1});
      // Sums of up to 1100 products as large as 10·2^bits.
      const double tolerance = (d == DType::f32 ? 6e-6 : 1e-14) * double(10 << c.bits);
      Tensor direct = randn({T, c.rows}, 5, d);
      sparse_product(w, x, {b, e}, View(direct).col_range(b, e), {.beta = 0.5}, Compute::f32);
      CHECK(test::distance(direct, ywant) < tolerance);
      CHECK(test::distance(y, ywant) < tolerance);
      CHECK(test::distance(dx, dxwant) < tolerance);
    }
  });
}

TEST_CASE("what is stored takes the bytes of the formula") {
  each_case([](const SparseCase& c, const SparseSource& source, const Tensor& dense) {
    const SparseMatrix& w = source.matrix();
    std::int64_t bytes = 0, nonzero = 0;
    for (std::int64_t i = 0; i < c.rows; ++i) {
      std::int64_t kept = 0;
      for (std::int64_t j = 0; j < c.cols; ++j) kept += dense.data<double>()[std::size_t(i * c.cols + j)] != 0;
      nonzero += kept;
      if (c.pattern.of) kept = c.cols / c.pattern.of * c.pattern.keep;
      bytes += c.bits ? (kept * c.bits + 7) / 8 : kept * std::int64_t(info(c.type).size);
    }
    CHECK(std::int64_t(w.mask.bytes()) == c.rows * ((c.cols + 7) / 8));
    CHECK(kept_of(w.mask) == (c.pattern.of ? c.rows * c.cols / c.pattern.of * c.pattern.keep : nonzero));
    CHECK(std::int64_t(c.bits ? w.codes.bytes() : w.values.bytes()) == bytes);
    CHECK(std::int64_t(w.scale.bytes()) == (c.bits ? c.rows * w.groups() * std::int64_t(info(c.scale).size) : 0));
  });
}

TEST_CASE("a group with more zeros than it drops keeps the first of them, one with fewer has no mask") {
  const float w[] = {0, 0, 5, 0, /**/ 1, 2, 0, 0, /**/ 0, 0, 0, 0};
  const Tensor dense = Tensor::of<float>({1, 12}, w);
  const Tensor mask = kept_mask(dense, {2, 4});
  CHECK((mask.data<std::uint8_t>()[0] == 0b00110101 && mask.data<std::uint8_t>()[1] == 0b0011));
  const SparseMatrix m = keep_values(dense, mask, {2, 4});
  const float want[] = {0, 5, 1, 2, 0, 0};
  CHECK(test::same_bits(m.values, Tensor::of<float>({1, 6}, want)));
  CHECK(!kept_mask(dense, {1, 4}));
  CHECK(!kept_mask(dense, {4, 8}));  // does not divide the columns
}

TEST_CASE("codes stand where the format says, also in act-order") {
  PackedInt p{.rows = 2, .cols = 4, .group = 2, .bits = 3, .codes = {}, .scale = {}, .zero = {}, .order = {}};
  const std::uint8_t codes[] = {5, 2, 7, 1, 2, 2, 2, 6}, zeros[] = {2, 2, 2, 2};
  p.codes = pack_codes(Tensor::of<std::uint8_t>({2, 4}, codes), 3);
  p.zero = Tensor::of<std::uint8_t>({2, 2}, zeros);
  p.scale = test::ones({2, 2}, DType::f32);
  const std::int32_t order[] = {3, 1, 0, 2};  // row 0 of the weight: 7, 2, 1, 5; row 1: 2, 2, 6, 2
  p.order = Tensor::of<std::int32_t>({4}, order);
  Tensor dense = Tensor::empty({2, 4}, DType::f32);
  unpack_rows(p, 0, 2, dense);
  const SparseMatrix w = keep_codes(p, kept_mask(dense, {}), {});
  const std::uint8_t mask[] = {0b1101, 0b0100}, want[] = {0b01001111, 0b00000001, 0b110};  // 101 · 001 · 111; 110
  const std::int32_t group_of[] = {1, 0, 1, 0};
  CHECK(test::same_bits(w.mask, Tensor::of<std::uint8_t>({2, 1}, mask)));
  CHECK(test::same_bits(w.codes, Tensor::of<std::uint8_t>({3}, want)));
  CHECK(test::same_bits(w.group_of, Tensor::of<std::int32_t>({4}, group_of)));
}

TEST_CASE("1, 2 and 3 threads give the same bits") {
  for (const int bits : {0, 3}) {
    const SparseMade m = test::make_sparse({172, 1000, {}, 0.4, DType::bf16, bits, 128});
    const SparseSource w(m.matrix, "weight");
    const Tensor x = randn({7, 1000}, 3, DType::f32), dy = randn({7, 172}, 4, DType::f32);
    Tensor first_y, first_dx, first_few;
    for (const int n : {1, 2, 3}) {
      set_threads(n);
      Tensor y = Tensor::zeros({7, 172}, DType::f32), dx = Tensor::zeros({7, 1000}, DType::f32), few = y.clone();
      strip_product(w, x, {0, 172}, y, {}, Compute::f32);
      strip_product_transposed(w, dy, {0, 172}, dx, 0, Compute::f32);
      sparse_product(w, x, {0, 172}, few, {}, Compute::bf16);
      if (!first_y) first_y = y, first_dx = dx, first_few = few;
      CHECK((test::same_bits(y, first_y) && test::same_bits(dx, first_dx) && test::same_bits(few, first_few)));
    }
  }
  set_threads(available_cores());
}

namespace {

Tensor changed(const Tensor& t, std::int64_t at, std::uint8_t flip) {
  Tensor c = t.clone();
  auto& byte = c.mutable_data<std::uint8_t>()[std::size_t(at)];
  byte = std::uint8_t(byte ^ flip);
  return c;
}

}  // namespace

TEST_CASE("parts that do not describe a pruned matrix are input errors that name the tensor") {
  const auto broken = [](const SparseMatrix& good, auto change) {
    SparseMatrix w = good;
    change(w);
    SparseSource(std::move(w), "layer");
  };
  const SparseMatrix values = test::make_sparse({6, 50, {}, 0.5, DType::bf16}).matrix;
  CHECK_NOTHROW(broken(values, [](SparseMatrix&) {}));
  CHECK_THROWS_TEXT(input, "layer: tensor \"mask\" is missing", broken(values, [](SparseMatrix& w) { w.mask = {}; }));
  CHECK_THROWS_TEXT(input, "tensor \"mask\" is u8 [6, 7], expected u8 [6, 8]",
                    broken(values, [](SparseMatrix& w) { w.cols = 60; }));
  CHECK_THROWS_TEXT(input, "weights", broken(values, [](SparseMatrix& w) { w.cols = std::int64_t(1) << 62; }));
  CHECK_THROWS_TEXT(input, "weights", broken(values, [](SparseMatrix& w) { w.cols = -1; }));
  CHECK_THROWS_TEXT(input, "behind the last column of row 2",
                    broken(values, [](SparseMatrix& w) { w.mask = changed(w.mask, 3 * 7 - 1, 4); }));
  CHECK_THROWS_TEXT(input, "tensor \"values\"",
                    broken(values, [](SparseMatrix& w) { w.mask = changed(w.mask, 5, 16); }));
  CHECK_THROWS_TEXT(input, "tensor \"values\"",
                    broken(values, [](SparseMatrix& w) { w.values = w.values.rows(0, w.values.numel() - 1); }));
  CHECK_THROWS_TEXT(input, "tensor \"values\" is f64",
                    broken(values, [](SparseMatrix& w) { w.values = cast(w.values, DType::f64); }));
  CHECK_THROWS_TEXT(input, "tensor \"values\" is missing", broken(values, [](SparseMatrix& w) { w.values = {}; }));
  CHECK_THROWS_TEXT(input, "no bits", broken(values, [](SparseMatrix& w) {
                      w.scale = test::ones({6, 1}, DType::f32);
                    }));

  const SparseMatrix pattern = test::make_sparse({6, 48, {2, 4}, 0, DType::bf16}).matrix;
  CHECK_THROWS_TEXT(input, "does not keep 2 of every 4 weights in row 3",
                    broken(pattern, [](SparseMatrix& w) { w.mask = changed(w.mask, 3 * 6 + 2, 1); }));
  for (const KeptPattern p : {KeptPattern{0, 4}, {5, 4}, {2, 7}, {2, -4}, {2, 49}, {2, std::int64_t(1) << 62}})
    CHECK_THROWS_TEXT(input, "keeps", broken(pattern, [p](SparseMatrix& w) { w.pattern = p; }));
  CHECK_THROWS_TEXT(input, "tensor \"values\"",
                    broken(pattern, [](SparseMatrix& w) { w.values = w.values.reshape({6 * 24}); }));

  const SparseMatrix codes = test::make_sparse({6, 50, {}, 0.5, DType::f32, 3, 16, DType::f16, true}).matrix;
  CHECK_NOTHROW(broken(codes, [](SparseMatrix&) {}));
  CHECK_THROWS_TEXT(input, "both", broken(codes, [](SparseMatrix& w) { w.values = test::ones({3}, DType::f32); }));
  CHECK_THROWS_TEXT(input, "field \"bits\" is 5", broken(codes, [](SparseMatrix& w) { w.bits = 5; }));
  CHECK_THROWS_TEXT(input, "tensor \"codes\"", broken(codes, [](SparseMatrix& w) { w.bits = 4; }));
  CHECK_THROWS_TEXT(input, "tensor \"codes\" is missing", broken(codes, [](SparseMatrix& w) { w.codes = {}; }));
  for (const std::int64_t group : {0, -1, 51})
    CHECK_THROWS_TEXT(input, "field \"group\"", broken(codes, [group](SparseMatrix& w) { w.group = group; }));
  CHECK_THROWS_TEXT(input, "tensor \"scale\"", broken(codes, [](SparseMatrix& w) { w.group = 25; }));
  CHECK_THROWS_TEXT(input, "tensor \"scale\" holds inf", broken(codes, [](SparseMatrix& w) {
                      w.scale = Tensor::full({6, 4}, INFINITY, DType::f16);
                    }));
  CHECK_THROWS_TEXT(input, "tensor \"zero\" holds",
                    broken(codes, [](SparseMatrix& w) { w.zero = changed(w.zero, 7, 8); }));
  CHECK_THROWS_TEXT(input, "tensor \"group_of\" holds 4 of 4", broken(codes, [](SparseMatrix& w) {
                      w.group_of = w.group_of.clone();
                      w.group_of.mutable_data<std::int32_t>()[3] = 4;
                    }));
  CHECK_THROWS_TEXT(input, "tensor \"group_of\"",
                    broken(codes, [](SparseMatrix& w) { w.group_of = w.group_of.rows(0, 49); }));
  const SparseMatrix odd = test::make_sparse({6, 12, {1, 4}, 0, DType::f32, 3, 12}).matrix;  // 3 codes: 9 bits
  CHECK_THROWS_TEXT(input, "behind the last code of row 2",
                    broken(odd, [](SparseMatrix& w) { w.codes = changed(w.codes, 3 * 2 - 1, 2); }));
}

}  // namespace sinter
