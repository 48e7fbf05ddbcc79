#include "ops/frozen_linear.h"

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "ops/linear.h"
#include "ops/reduce.h"
#include "ops/strip_product.h"
#include "test/gradcheck.h"

namespace sinter {
namespace {

using test::randn;

// The least a frozen weight can be: a dense f64 or f32 tensor through the strip products alone.
class StripWeight final : public FrozenWeight {
 public:
  explicit StripWeight(Tensor w) : w_(std::move(w)) {}
  std::int64_t out_features() const override { return w_.shape()[0]; }
  std::int64_t in_features() const override { return w_.shape()[1]; }
  void apply(ConstView x, Rows r, View y, const Epilogue& e, Compute c) const override {
    check("plain apply", x, y, r);
    strip_product(DenseSource(w_), x, r, y, e, c);
  }
  void apply_transposed(ConstView dy, Rows r, View dx, float beta, Compute c) const override {
    check("plain apply_transposed", dx, dy, r);
    strip_product_transposed(DenseSource(w_), dy, r, dx, beta, c);
  }
  Tensor gather(std::span<const std::int32_t>, DType) const override { return {}; }
  Tensor dense(Rows r, DType) const override { return w_.rows(r.begin, r.end); }
  Packed pack() const override { return {}; }
  FrozenWeightPtr to(Device) const override { return nullptr; }

 private:
  Tensor w_;
};

double worst_ulps_bf16(const Tensor& got, const Tensor& want, std::int64_t k) {
  return test::distance(got, want) / (6e-8 * double(k));
}

}  // namespace

TEST_CASE("linear: gradients of both operands, and of each alone, agree with differences") {
  const Tensor x = randn({5, 8}, 1), w = randn({7, 8}, 2);
  CHECK(test::grad_error([](auto& v) { return sum_sq(linear(v[0], v[1])); }, {x, w}) < test::kGradTolerance);
  CHECK(test::grad_error([&](auto& v) { return sum_sq(linear(v[0], w)); }, {x}) < test::kGradTolerance);
  CHECK(test::grad_error([&](auto& v) { return sum_sq(linear(x, v[0])); }, {w}) < test::kGradTolerance);
  CHECK(test::grad_error([](auto& v) { return sum_sq(linear(v[0], v[0])); }, {x}) < test::kGradTolerance);
}

TEST_CASE("frozen_linear: the gradient of x agrees with differences, with a bias and without") {
  const Tensor x = randn({20, 8}, 1), bias = randn({70}, 3);
  const auto w = std::make_shared<StripWeight>(randn({70, 8}, 2));
  CHECK(test::grad_error([&](auto& v) { return sum_sq(frozen_linear(v[0], w)); }, {x}) < test::kGradTolerance);
  CHECK(test::grad_error([&](auto& v) { return sum_sq(frozen_linear(v[0], w, bias)); }, {x}) < test::kGradTolerance);
  const Tensor dense = w->dense(w->all(), DType::f64);
  CHECK(test::distance(frozen_linear(x, w).value(), linear(x, dense).value()) < 1e-13);  // f64, 8 terms of order 1
}

TEST_CASE("strip products equal gemm for every size of strip, both types, few rows and many") {
  for (const DType d : {DType::f32, DType::f64})
    for (const std::int64_t T : {1, 32, 33, 60})
      for (const std::int64_t in : {40, 3000}) {
        const Tensor w = randn({530, in}, 1, d), x = randn({T, in}, 2, d), dy = randn({T, 530}, 3, d);
        const StripWeight p(w);
        const double tolerance = (d == DType::f32 ? 4e-7 : 1e-15) * double(in);  // rounding of in products
        CHECK(test::distance(apply(p, x), matmul(x, Trans::no, w, Trans::yes)) < tolerance);
        CHECK(test::distance(apply_transposed(p, dy), matmul(dy, Trans::no, w, Trans::no)) <
              (d == DType::f32 ? 4e-7 : 1e-15) * 530);
      }
}

TEST_CASE("bf16 arithmetic rounds both factors and sums in f32, forward and backward, frozen and not") {
  for (const std::int64_t T : {3, 40}) {
    const Tensor x = randn({T, 90}, 1, DType::f32), w = randn({50, 90}, 2, DType::f32);
    const Tensor dy = randn({T, 50}, 3, DType::f32);
    const Tensor rx = cast(cast(x, DType::bf16), DType::f32), rw = cast(cast(w, DType::bf16), DType::f32);
    const Tensor rdy = cast(cast(dy, DType::bf16), DType::f32);
    const Tensor y = matmul(rx, Trans::no, rw, Trans::yes), dx = matmul(rdy, Trans::no, rw, Trans::no);
    const StripWeight p(w);
    CHECK(worst_ulps_bf16(apply(p, x, {}, Compute::bf16), y, 90) < 4);
    CHECK(worst_ulps_bf16(apply_transposed(p, dy, Compute::bf16), dx, 50) < 4);

    const Param px("x", x), pw("w", w);
    Tape tape;
    const Var out = linear(tape.leaf(px), tape.leaf(pw), Compute::bf16);
    CHECK(worst_ulps_bf16(out.value(), y, 90) < 4);
    const Grads g = std::move(tape).backward(out, dy);
    CHECK(worst_ulps_bf16(*g.find(px), dx, 50) < 4);
    CHECK(worst_ulps_bf16(*g.find(pw), matmul(rdy, Trans::yes, rx, Trans::no), T) < 4);
    CHECK(test::distance(out.value(), matmul(x, Trans::no, w, Trans::yes)) > 1e-3);  // it did round
  }
}

TEST_CASE("1, 2 and 3 threads give the same bits in strip products") {
  for (const std::int64_t T : {1, 65})
    for (const std::int64_t in : {172, 3000}) {
      const StripWeight p(randn({1000, in}, 1, DType::f32));
      const Tensor x = randn({T, in}, 2, DType::f32), dy = randn({T, 1000}, 3, DType::f32);
      Tensor y, dx;
      for (const int n : {1, 2, 3}) {
        set_threads(n);
        const Tensor a = apply(p, x), b = apply_transposed(p, dy);
        if (!y) y = a, dx = b;
        CHECK((test::same_bits(a, y) && test::same_bits(b, dx)));
      }
    }
  set_threads(available_cores());
}

TEST_CASE("operands that do not fit are refused by name") {
  const auto w = std::make_shared<StripWeight>(randn({6, 8}, 2));
  CHECK_THROWS_TEXT(shape, "linear: x [3, 7] with w [6, 8]", linear(randn({3, 7}, 1), randn({6, 8}, 2)));
  CHECK_THROWS_TEXT(dtype, "linear", linear(randn({3, 8}, 1), randn({6, 8}, 2, DType::f32)));
  CHECK_THROWS_TEXT(dtype, "linear", linear(randn({3, 8}, 1), randn({6, 8}, 2), Compute::bf16));
  CHECK_THROWS_TEXT(shape, "frozen_linear", frozen_linear(randn({8}, 1), w));
  CHECK_THROWS_TEXT(shape, "plain apply", frozen_linear(randn({3, 7}, 1), w));
  CHECK_THROWS_TEXT(dtype, "bf16 arithmetic needs f32", frozen_linear(randn({3, 8}, 1), w, {}, Compute::bf16));
  CHECK_THROWS_TEXT(
      shape, "rows 2..7 of 6",
      w->apply_transposed(randn({3, 5}, 1), {2, 7}, *std::make_unique<Tensor>(randn({3, 8}, 1)), 0, Compute::f32));
}

}  // namespace sinter
