#include <cmath>

#include "core/basic_kernels.h"
#include "core/param.h"
#include "core/tape.h"
#include "ops/dropout.h"
#include "ops/rms_norm.h"
#include "test/check.h"
#include "test/cuda/device.h"

using namespace sinter;
using namespace sinter::test;

namespace {

constexpr std::int64_t kLong = 1'048'576 + 3;  // more elements than the largest grid has threads

// f32 against f64 on the CPU, normalised squared errors: one rounding of f32 is 2^-24, its mean square 1.2e-15.
constexpr double kFewRoundings = 3e-14;
constexpr double kShareOfRows = 8e-14;  // sums of up to 60 rows in turn: half as many roundings
// Both sides round in f64 (mean square 4.1e-33) and sum in orders of their own, the CPU 5000 rows in turn.
constexpr double kOrders = 3e-29;

double tolerance(DType d, double f32) { return d == DType::f32 ? f32 : kOrders; }

// Every bit pattern of 16 bits as the type T, but NaN, whose payload is nobody's business.
template <class T>
Tensor all_patterns() {
  Tensor t = Tensor::empty({65536}, dtype_of<T>);
  const auto out = t.mutable_data<T>();
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = T{std::uint16_t(i)};
    if (std::isnan(to_float(out[i]))) out[i] = T{0};
  }
  return t;
}

// Random bits as f32, but NaN: every exponent, subnormals and what overflows a narrower type.
Tensor wild(std::int64_t n) {
  Tensor t = Tensor::empty({n}, DType::f32);
  const auto out = t.mutable_data<float>();
  const Rng rng{kSeed, 99};
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = std::bit_cast<float>(rng.bits(i));
    if (std::isnan(out[i])) out[i] = 1.f + 0x1p-8f;  // a tie in bf16
  }
  return t;
}

Tensor cast_on_device(const Tensor& x, DType d) { return on_host(cast(on_device(x), d)); }

}  // namespace

TEST_CASE("Bytes come back from the device as they went" * doctest::skip(!has_device())) {
  for (const std::int64_t n : {0, 1, 3, 1'000'003}) {
    const Tensor x = cast(randn({n}, 1, DType::f32), DType::f16);
    const Tensor there = on_device(x);
    CHECK(same_bits(on_host(there), x));
    CHECK(same_bits(on_host(there.clone()), x));
    CHECK(same_bits(on_host(Tensor::zeros({n}, DType::f32, kCuda)), Tensor::zeros({n}, DType::f32)));
  }
}

TEST_CASE("A sum of two tensors has the bits of the CPU's" * doctest::skip(!has_device())) {
  for (const DType d : {DType::f32, DType::f64})
    for (const std::int64_t n : {std::int64_t(1), std::int64_t(257), kLong}) {
      const Tensor x = cast(randn({n}, 1, DType::f32), d), y = cast(randn({n}, 2, DType::f32), d);
      Tensor expected = x.clone(), got = on_device(x);
      accumulate(Device{}, expected, y);
      accumulate(kCuda, got, on_device(y));
      CHECK(same_bits(on_host(got), expected));
    }
}

TEST_CASE("Casts have the bits of the CPU's for every pair of types" * doctest::skip(!has_device())) {
  constexpr DType kFloats[] = {DType::f64, DType::f32, DType::f16, DType::bf16};
  for (const DType from : kFloats)
    for (const DType to : kFloats) {
      CAPTURE(info(from).name);
      CAPTURE(info(to).name);
      const Tensor x = from == DType::f16    ? all_patterns<f16>()
                       : from == DType::bf16 ? all_patterns<bf16>()
                                             : cast(wild(kLong), from);
      CHECK(same_bits(cast_on_device(x, to), cast(x, to)));
    }
}

TEST_CASE("Dropout keeps the elements that the CPU keeps, bit for bit" * doctest::skip(!has_device())) {
  const Rng rng{12, 34};
  for (const DType d : {DType::f32, DType::f64})
    for (const std::int64_t n : {std::int64_t(1), std::int64_t(1021), 4 * kLong + 1})
      for (const double p : {0.1, 0.5, 0.75}) {
        const Tensor x = cast(wild(n), d);
        CHECK(same_bits(on_host(dropout(on_device(x), p, rng).value()), dropout(x, p, rng).value()));
      }
}

TEST_CASE("RMS norm and its fused sum agree with the CPU in f64" * doctest::skip(!has_device())) {
  for (const DType d : {DType::f32, DType::f64})
    for (const Shape s : {Shape{1, 1}, Shape{3, 7}, Shape{517, 131}, Shape{5, 4097}, Shape{2, 3, 64}}) {
      CAPTURE(s);
      const Tensor x = cast(randn(s, 1), d), r = cast(randn(s, 2), d), w = cast(randn({s[-1]}, 3), d);
      const auto wide = [](const Tensor& t) { return cast(t, DType::f64); };
      const Tensor y = on_host(rms_norm(on_device(x), on_device(w), 1e-5).value());
      CHECK(nmse(y, rms_norm(wide(x), wide(w), 1e-5).value()) <= tolerance(d, kFewRoundings));
      const auto got = add_rms_norm(on_device(x), on_device(r), on_device(w), 1e-5);
      const auto expected = add_rms_norm(wide(x), wide(r), wide(w), 1e-5);
      for (const int i : {0, 1})
        CHECK(nmse(on_host(got[std::size_t(i)].value()), expected[std::size_t(i)].value()) <=
              tolerance(d, kFewRoundings));
    }
}

TEST_CASE("The gradient of RMS norm agrees with the CPU in f64, whatever of it is asked for" *
          doctest::skip(!has_device())) {
  for (const DType d : {DType::f32, DType::f64})
    for (const Shape s : {Shape{1, 5}, Shape{3, 7}, Shape{517, 131}, Shape{5, 4097}, Shape{5001, 33}})
      for (const int asked : {1, 2, 3})  // dx, dw, both
        for (const bool plus : {false, true}) {
          CAPTURE(s);
          CAPTURE(asked);
          const auto backward = [&](Device at, DType type) {
            const auto put = [&](std::uint64_t stream, Shape shape) {
              const Tensor t = cast(cast(randn(shape, stream), d), type);
              return at == kCuda ? on_device(t) : t;
            };
            Tensor dx = asked & 1 ? put(9, s) : Tensor(), dw = asked & 2 ? put(9, {s[-1]}) : Tensor();
            rms_norm_backward_kernel(at, put(1, s), asked & 1 ? put(2, {s[-1]}) : Tensor(), put(3, s),
                                     plus ? put(4, s) : Tensor(), 1e-5, dx, dw);
            return std::array{on_host(dx), on_host(dw)};
          };
          const auto got = backward(kCuda, d), again = backward(kCuda, d), expected = backward(Device{}, DType::f64);
          for (const std::size_t i : {0u, 1u}) {
            if (!expected[i]) continue;
            CHECK(nmse(got[i], expected[i]) <= tolerance(d, i ? kShareOfRows : kFewRoundings));
            CHECK(same_bits(got[i], again[i]));
          }
        }
}

TEST_CASE("A tape on the device gives the CPU's gradient" * doctest::skip(!has_device())) {
  const Tensor x = randn({37, 65}, 1), w = randn({65}, 2);
  const auto gradient = [&](Device at) {
    const Param p("x", at == kCuda ? on_device(x) : x);
    Tape tape;
    const Var in = tape.leaf(p);
    const Var scale(at == kCuda ? on_device(w) : w);
    const auto [h, y] = add_rms_norm(dropout(in, 0.25, Rng{1, 2}), in, scale, 1e-5);  // two paths to x
    const Tensor one = ones({37, 65});
    const Grads g = std::move(tape).backward(y, at == kCuda ? on_device(one) : one);
    return on_host(*g.find(p));
  };
  CHECK(nmse(gradient(kCuda), gradient(Device{})) <= kOrders);
}

TEST_CASE("A request that no card can serve is an error, and the device goes on" * doctest::skip(!has_device())) {
  const Tensor x = randn({1000}, 1, DType::f32), there = on_device(x);
  CHECK_THROWS_TEXT(out_of_memory, "bytes on cuda; ", Tensor::empty({std::int64_t(1) << 48}, DType::f32, kCuda));
  CHECK(same_bits(on_host(there.clone()), x));
}
