#include "core/half.h"

#include <limits>

#include "core/dtype.h"
#include "core/random.h"
#include "test/check.h"

using namespace sinter;

namespace {

// The value by the definition of the format, in f64.
double f16_by_definition(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * mantissa * 0x1p-24;
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}
double bf16_by_definition(std::uint16_t bits) {
  const int exponent = bits >> 7 & 255, mantissa = bits & 127;
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == 255) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, -133);
  return sign * std::ldexp(128 + mantissa, exponent - 134);
}

// What rounding to nearest even demands: no neighbour is nearer, and of two equally near the even one is taken.
// Infinity counts as the power of two at which it stands.
template <class H, class ByDefinition>
bool rounds_to_nearest_even(float x, H h, ByDefinition value, double infinity) {
  if (std::signbit(x) != bool(h.bits >> 15)) return false;
  const auto error = [&](int magnitude) {
    const double v = value(std::uint16_t(magnitude));
    return std::abs((std::isinf(v) ? infinity : v) - std::abs(double(x)));
  };
  const int here = h.bits & 0x7fff;
  for (const int other : {here - 1, here + 1}) {
    if (other < 0 || std::isnan(value(std::uint16_t(other)))) continue;
    if (error(other) < error(here) || (error(other) == error(here) && here % 2 != 0)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("Every f16 and bf16 converts to f32 by its definition and back to itself") {
  int wrong = 0;
  for (int i = 0; i < 65536; ++i) {
    const auto bits = std::uint16_t(i);
    const double a = f16_by_definition(bits), b = bf16_by_definition(bits);
    if (std::isnan(a)) wrong += !std::isnan(to_float(f16{bits})) || !std::isnan(to_float(to_f16(to_float(f16{bits}))));
    else wrong += double(to_float(f16{bits})) != a || to_f16(to_float(f16{bits})).bits != bits;
    if (std::isnan(b))
      wrong += !std::isnan(to_float(bf16{bits})) || !std::isnan(to_float(to_bf16(to_float(bf16{bits}))));
    else wrong += double(to_float(bf16{bits})) != b || to_bf16(to_float(bf16{bits})).bits != bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("Points between two neighbours round to the nearer, and the middle to the even one") {
  int wrong = 0;
  for (int i = 0; i < 0x7bff; ++i) {  // f16: neighbours i and i + 1, both finite
    const double low = f16_by_definition(std::uint16_t(i)), high = f16_by_definition(std::uint16_t(i + 1));
    const auto middle = float((low + high) / 2);
    const int even = i % 2 ? i + 1 : i;
    wrong += to_f16(middle).bits != even || to_f16(-middle).bits != (even | 0x8000);
    wrong += to_f16(std::nextafter(middle, 0.f)).bits != i;
    wrong += to_f16(std::nextafter(middle, INFINITY)).bits != i + 1;
  }
  for (int i = 0; i < 0x7f7f; ++i) {
    const double low = bf16_by_definition(std::uint16_t(i)), high = bf16_by_definition(std::uint16_t(i + 1));
    const auto middle = float((low + high) / 2);
    const int even = i % 2 ? i + 1 : i;
    wrong += to_bf16(middle).bits != even || to_bf16(-middle).bits != (even | 0x8000);
    wrong += to_bf16(std::nextafter(middle, 0.f)).bits != i;
    wrong += to_bf16(std::nextafter(middle, INFINITY)).bits != i + 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("Overflow, underflow, infinities and signs of zero") {
  CHECK(to_f16(65504.f).bits == 0x7bff);
  CHECK(to_f16(std::nextafter(65520.f, 0.f)).bits == 0x7bff);
  CHECK(to_f16(65520.f).bits == 0x7c00);  // the middle to 65536, which is infinity
  CHECK(to_f16(-1e30f).bits == 0xfc00);
  CHECK(to_f16(0x1p-25f).bits == 0);  // the middle to the least subnormal, even
  CHECK(to_f16(std::nextafter(0x1p-25f, 1.f)).bits == 1);
  CHECK(to_f16(-0.f).bits == 0x8000);
  CHECK(to_f16(-1e-30f).bits == 0x8000);
  CHECK(to_bf16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(to_bf16(-INFINITY).bits == 0xff80);
  CHECK(to_bf16(std::bit_cast<float>(0x7f800001u)).bits == 0x7fc0);  // a NaN whose upper half looks like infinity
  CHECK(to_bf16(-0.f).bits == 0x8000);
}

TEST_CASE("Rounding from f32 is to nearest even for random bit patterns") {
  const Rng rng{1, 2};
  int wrong = 0;
  for (std::uint64_t i = 0; i < 300000; ++i) {
    const auto x = std::bit_cast<float>(rng.bits(i));
    if (!std::isfinite(x)) continue;
    wrong += !rounds_to_nearest_even(x, to_bf16(x), bf16_by_definition, 0x1p128);
    const int exponent = int(std::bit_cast<std::uint32_t>(x) >> 23 & 255) - 127;
    const float narrow = std::ldexp(x, exponent % 32 - exponent);  // into and around f16's range
    if (std::abs(narrow) < 70000) wrong += !rounds_to_nearest_even(narrow, to_f16(narrow), f16_by_definition, 0x1p16);
  }
  CHECK(wrong == 0);
}

TEST_CASE("Types know their names and sizes, and dispatch names the operation") {
  CHECK(info(DType::bf16).name == "bf16");
  for (const DType d : {DType::f64, DType::f32, DType::f16, DType::bf16})
    CHECK(visit_stored(d, "test", []<class T>() { return dtype_of<T>; }) == d);
  CHECK_THROWS_TEXT(dtype, "softmax: needs f32 or f64, got f16", visit_float(DType::f16, "softmax", []<class T>() {}));
  CHECK_THROWS_TEXT(dtype, "test: needs a float type, got i64", visit_stored(DType::i64, "test", []<class T>() {}));
}
