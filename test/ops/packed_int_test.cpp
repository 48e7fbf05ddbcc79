#include "ops/packed_int.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "test/check.h"

namespace sinter {
namespace {

using test::randn;

struct Case {
  std::int64_t rows, cols, group;
  int bits;
  bool order;
  DType scale = DType::f32;
};

Tensor permutation(std::int64_t n) {
  Tensor t = Tensor::empty({n}, DType::i32);
  const auto p = t.mutable_data<std::int32_t>();
  for (std::int64_t i = 0; i < n; ++i) p[std::size_t(i)] = std::int32_t(i);
  for (std::int64_t i = n - 1; i > 0; --i)
    std::swap(p[std::size_t(i)], p[std::size_t(Rng{5, 5}.below(std::uint64_t(i), std::uint64_t(i + 1)))]);
  return t;
}

struct Made {
  PackedInt packed;
  Tensor codes, dense;  // u8 and f64 [m, n], in the order of the weight for `dense`
};

Made make(const Case& c) {
  Made m;
  PackedInt& w = m.packed;
  w.rows = c.rows, w.cols = c.cols, w.group = c.group, w.bits = c.bits;
  const std::int64_t G = w.groups();
  m.codes = Tensor::empty({c.rows, c.cols}, DType::u8);
  w.zero = Tensor::empty({c.rows, G}, DType::u8);
  const Rng rng{5, 1};
  std::uint64_t at = 0;
  for (Tensor* t : {&m.codes, &w.zero})
    for (auto& v : t->mutable_data<std::uint8_t>()) v = std::uint8_t(rng.below(at++, 1u << c.bits));
  w.scale = randn({c.rows, G}, 2, c.scale);
  w.codes = pack_codes(m.codes, c.bits);
  if (c.order) w.order = permutation(c.cols);
  m.dense = Tensor::empty({c.rows, c.cols}, DType::f64);
  const auto d = m.dense.mutable_data<double>();
  for (std::int64_t i = 0; i < c.rows; ++i)
    for (std::int64_t j = 0; j < c.cols; ++j) {
      const std::int64_t g = i * G + j / c.group, to = c.order ? w.order.data<std::int32_t>()[std::size_t(j)] : j;
      d[std::size_t(i * c.cols + to)] =
          test::value_at(w.scale, g) * (double(m.codes.data<std::uint8_t>()[std::size_t(i * c.cols + j)]) -
                                        w.zero.data<std::uint8_t>()[std::size_t(g)]);
    }
  return m;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    std::vector<Case> v;
    for (const int bits : {2, 3, 4, 8})
      for (const bool order : {false, true}) {
        v.push_back({37, 96, 32, bits, order});
        v.push_back({37, 96, 32, bits, order, DType::f16});
        v.push_back({20, 101, 101, bits, order});  // whole rows
        v.push_back({9, 130, 50, bits, order});  // a short last group, groups that begin inside a byte
        v.push_back({5, 7, 3, bits, order});
        v.push_back({70, 1100, 128, bits, order});  // more than one column strip
      }
    return v;
  }();
  return all;
}

}  // namespace

TEST_CASE("codes survive packing and unpacking at every width, and stand where the format says") {
  for (const Case& c : cases()) {
    const Made m = make(c);
    CHECK(test::same_bits(unpack_codes(m.packed.codes, c.cols, c.bits), m.codes));
  }
  const std::uint8_t codes[] = {5, 2, 7, 1};
  const Tensor p = pack_codes(Tensor::of<std::uint8_t>({1, 4}, codes), 3);  // 101 · 010 · 111 · 001, lowest bit first
  CHECK((p.data<std::uint8_t>()[0] == 0b11010101 && p.data<std::uint8_t>()[1] == 0b00000011));
  CHECK_THROWS_TEXT(usage, "code 5 needs more than 2 bits", pack_codes(Tensor::of<std::uint8_t>({1, 4}, codes), 2));
}

TEST_CASE("rows unpack to scale·(code − zero) in the weight's own column order") {
  for (const Case& c : cases()) {
    const Made m = make(c);
    Tensor wide = Tensor::zeros({c.rows, c.cols}, DType::f64), narrow = Tensor::zeros({c.rows, c.cols}, DType::f32);
    unpack_rows(m.packed, 0, c.rows, wide);
    unpack_rows(m.packed, 0, c.rows, narrow);
    CHECK(test::same_bits(wide, m.dense));
    CHECK(test::same_bits(narrow, cast(m.dense, DType::f32)));  // code − zero is exact, one product is rounded
    Tensor part = Tensor::zeros({2, c.cols}, DType::f64);
    unpack_rows(m.packed, 3, 5, part);
    CHECK(test::same_bits(part, m.dense.rows(3, 5).clone()));
  }
}

TEST_CASE("products and transposed products equal those of the dense matrix, by row range, with epilogue and beta") {
  for (const Case& c : cases())
    for (const DType d : {DType::f32, DType::f64})
      for (const std::int64_t T : {1, 5, 16, 40}) {
        const Made m = make(c);
        const Tensor dense = cast(m.dense, d), x = randn({T, c.cols}, 3, d), bias = randn({c.rows}, 4, d);
        const std::int64_t b = c.rows / 3, e = c.rows - 1;
        // Sums of n products as large as 3·2^bits.
        const double tolerance =
            (d == DType::f32 ? 4e-7 : 1e-15) * double(std::max(c.cols, c.rows)) * double(4 << c.bits);

        Tensor y = randn({T, c.rows}, 5, d);
        Tensor want = y.clone();
        const Epilogue epilogue{bias.rows(b, e), Activation::relu, 0.5f};
        gemm(x, Trans::no, dense.rows(b, e), Trans::yes, View(want).col_range(b, e), epilogue);
        packed_product(m.packed, x, b, e, View(y).col_range(b, e), epilogue, Compute::f32);
        CHECK(test::distance(y, want) < tolerance);

        const Tensor dy = randn({T, c.rows}, 6, d);
        Tensor dx = randn({T, c.cols}, 7, d);
        Tensor dwant = dx.clone();
        const ConstView part = ConstView(dy).col_range(b, e);
        gemm(part, Trans::no, dense.rows(b, e), Trans::no, dwant, {.beta = -1});
        packed_product_transposed(m.packed, part, b, e, dx, -1, Compute::f32);
        CHECK(test::distance(dx, dwant) < tolerance);
      }
}

TEST_CASE("1, 2 and 3 threads give the same bits") {
  for (const std::int64_t T : {1, 7, 65}) {
    const Made m = make({172, 1000, 128, 3, true});
    const Tensor x = randn({T, 1000}, 3, DType::f32), dy = randn({T, 172}, 4, DType::f32);
    Tensor first_y, first_dx, first_fast;
    for (const int n : {1, 2, 3}) {
      set_threads(n);
      Tensor y = Tensor::zeros({T, 172}, DType::f32), dx = Tensor::zeros({T, 1000}, DType::f32), fast = y.clone();
      packed_product(m.packed, x, 0, 172, y, {}, Compute::f32);
      packed_product(m.packed, x, 0, 172, fast, {}, Compute::bf16);
      packed_product_transposed(m.packed, dy, 0, 172, dx, 0, Compute::f32);
      if (!first_y) first_y = y, first_dx = dx, first_fast = fast;
      CHECK((test::same_bits(y, first_y) && test::same_bits(dx, first_dx) && test::same_bits(fast, first_fast)));
    }
  }
  set_threads(available_cores());
}

TEST_CASE("parts that do not describe a matrix are input errors that name the tensor") {
  const Made good = make({6, 50, 16, 3, true});
  const auto broken = [&](auto change) {
    PackedInt w = good.packed;
    change(w);
    check_packed(w, "layer");
  };
  CHECK_NOTHROW(broken([](PackedInt&) {}));
  CHECK_THROWS_TEXT(input, "layer: field \"bits\" is 5", broken([](PackedInt& w) { w.bits = 5; }));
  CHECK_THROWS_TEXT(input, "\"group\" is 0", broken([](PackedInt& w) { w.group = 0; }));
  CHECK_THROWS_TEXT(input, "\"group\" is 51", broken([](PackedInt& w) { w.group = 51; }));
  CHECK_THROWS_TEXT(input, "weights", broken([](PackedInt& w) { w.cols = std::int64_t(1) << 62; }));
  CHECK_THROWS_TEXT(input, "tensor \"codes\"", broken([](PackedInt& w) { w.cols = 60; }));
  CHECK_THROWS_TEXT(input, "tensor \"scale\"", broken([](PackedInt& w) { w.scale = cast(w.scale, DType::f64); }));
  CHECK_THROWS_TEXT(input, "tensor \"zero\" is missing", broken([](PackedInt& w) { w.zero = {}; }));
  CHECK_THROWS_TEXT(input, "tensor \"order\"", broken([](PackedInt& w) { w.order = w.order.rows(0, 49); }));
  CHECK_THROWS_TEXT(input, "no permutation", broken([](PackedInt& w) { w.order = Tensor::zeros({50}, DType::i32); }));
  CHECK_THROWS_TEXT(input, "tensor \"scale\" holds nan", broken([](PackedInt& w) {
                      w.scale = cast(Tensor::full({6, 4}, NAN, DType::f64), DType::f32);
                    }));
  CHECK_THROWS_TEXT(input, "tensor \"zero\" holds 8", broken([](PackedInt& w) {
                      w.zero = w.zero.clone();
                      w.zero.mutable_data<std::uint8_t>()[5] = 8;
                    }));
  CHECK_THROWS_TEXT(input, "behind the last code of row 2", broken([](PackedInt& w) {
                      w.codes = w.codes.clone();
                      w.codes.mutable_data<std::uint8_t>()[3 * 19 - 1] |= 0x80;
                    }));
}

}  // namespace sinter
