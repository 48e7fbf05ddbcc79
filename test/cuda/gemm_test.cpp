#include "ops/gemm.h"

#include <cmath>

#include "core/basic_kernels.h"
#include "test/check.h"
#include "test/cuda/device.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// Normalised squared errors for sums of up to 257 products in turn: half of the final power on average, so 257 / 2
// roundings, of mean square 1.2e-15 in f32 and 4.1e-33 in f64, where the CPU rounds as often.
constexpr double kSumF32 = 1.6e-13, kSumF64 = 1.1e-30;

struct Case {
  std::int64_t m, n, k;
  Trans ta, tb;
  DType dtype;
  std::int64_t pad = 0;  // columns around a, b and c that are not theirs
};

// c = beta·c + act(op(a)·op(b) + bias) with operands that are column ranges of wider tensors; all of c's tensor.
Tensor product(const Case& s, const Epilogue& e, Device at, DType type) {
  const auto put = [&](Shape shape, std::uint64_t stream) {
    const Tensor t = cast(cast(randn(shape, stream), s.dtype), type);
    return at == kCuda ? on_device(t) : t;
  };
  const auto stored = [&](std::int64_t rows, std::int64_t cols, Trans t, std::uint64_t stream) {
    const std::int64_t r = t == Trans::no ? rows : cols, c = t == Trans::no ? cols : rows;
    return put({r, c + 2 * s.pad}, stream);
  };
  const auto inner = [&](auto view) { return view.col_range(s.pad, view.cols() - s.pad); };
  const Tensor a = stored(s.m, s.k, s.ta, 1), b = stored(s.k, s.n, s.tb, 2);
  Tensor c = put({s.m, s.n + 2 * s.pad}, 3);
  Epilogue placed = e;
  if (e.bias) placed.bias = put({s.n}, 4);
  gemm(inner(ConstView(a)), s.ta, inner(ConstView(b)), s.tb, inner(View(c)), placed);
  return on_host(c);
}

void compare(const Case& s, const Epilogue& e) {
  CAPTURE(s.m);
  CAPTURE(s.n);
  CAPTURE(s.k);
  CAPTURE(int(e.activation));
  CAPTURE(e.beta);
  const Tensor got = product(s, e, kCuda, s.dtype);
  CHECK(nmse(got, product(s, e, Device{}, DType::f64)) <= (s.dtype == DType::f32 ? kSumF32 : kSumF64));
  CHECK(same_bits(got, product(s, e, kCuda, s.dtype)));
}

}  // namespace

TEST_CASE("A product agrees with the CPU for every transposition, odd shapes and windows" *
          doctest::skip(!has_device())) {
  for (const DType d : {DType::f32, DType::f64})
    for (const Trans ta : {Trans::no, Trans::yes})
      for (const Trans tb : {Trans::no, Trans::yes})
        for (const std::int64_t pad : {0, 3})
          for (const auto& [m, n, k] :
               {std::array<std::int64_t, 3>{1, 1, 1}, {1, 257, 65}, {17, 33, 257}, {129, 63, 31}})
            compare({m, n, k, ta, tb, d, pad}, {});
}

TEST_CASE("What follows a product agrees with the CPU: bias, activation, and a sum with what was there" *
          doctest::skip(!has_device())) {
  const Tensor bias = Tensor::zeros({1}, DType::f32);  // stands for one of the right size
  for (const DType d : {DType::f32, DType::f64})
    for (const Activation a : {Activation::none, Activation::relu, Activation::gelu, Activation::silu})
      for (const float beta : {0.f, 1.f, -0.5f})
        for (const bool with_bias : {false, true})
          compare({17, 300, 65, Trans::no, Trans::yes, d, 3}, {with_bias ? bias : Tensor(), a, beta});
}

TEST_CASE("A product over nothing is what its epilogue makes of zero" * doctest::skip(!has_device())) {
  const Tensor bias = Tensor::zeros({1}, DType::f32);
  for (const float beta : {0.f, -0.5f})
    for (const bool with_bias : {false, true})
      compare({5, 7, 0, Trans::yes, Trans::no, DType::f32}, {with_bias ? bias : Tensor(), Activation::none, beta});
}

TEST_CASE("A beta of zero does not read the result's old values" * doctest::skip(!has_device())) {
  const Tensor a = on_device(ones({3, 5})), b = on_device(ones({5, 4}));
  for (const Activation act : {Activation::none, Activation::relu}) {
    Tensor c = on_device(Tensor::full({3, 4}, NAN, DType::f64));
    gemm(a, Trans::no, b, Trans::no, View(c), {{}, act, 0});
    CHECK(distance(on_host(c), Tensor::full({3, 4}, 5, DType::f64)) == 0);
  }
}
