#pragma once
#include <bit>
#include <cstdint>

#if defined(__CUDACC__)
#define SINTER_HOST_DEVICE __host__ __device__
#else
#define SINTER_HOST_DEVICE
#endif

namespace sinter {

// Storage types: arithmetic happens in f32. Conversions to float are exact, from float they round to nearest even.
struct f16 {
  std::uint16_t bits;
};
struct bf16 {
  std::uint16_t bits;
};

SINTER_HOST_DEVICE constexpr float to_float(bf16 h) { return std::bit_cast<float>(std::uint32_t(h.bits) << 16); }

SINTER_HOST_DEVICE constexpr float to_float(f16 h) {
  const std::uint32_t sign = std::uint32_t(h.bits & 0x8000u) << 16;
  const std::uint32_t exponent = h.bits >> 10 & 31u, mantissa = h.bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) return (sign ? -1.f : 1.f) * float(mantissa) * 0x1p-24f;  // zero and subnormals
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

SINTER_HOST_DEVICE constexpr bf16 to_bf16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {std::uint16_t(u >> 16 | 0x40u)};  // NaN stays NaN
  return {std::uint16_t((u + 0x7fffu + (u >> 16 & 1u)) >> 16)};
}

SINTER_HOST_DEVICE constexpr f16 to_f16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return {std::uint16_t(sign | 0x7e00u)};  // NaN
  if (a >= 0x477ff000u) return {std::uint16_t(sign | 0x7c00u)};  // 65520 and above round to infinity
  if (a < 0x38800000u) {  // below 2^-14: subnormal, in units of 2^-24
    const float units = std::bit_cast<float>(a) * 0x1p24f;
    auto m = std::uint32_t(units);
    const float rest = units - float(m);
    m += rest > 0.5f || (rest == 0.5f && (m & 1u));
    return {std::uint16_t(sign | m)};
  }
  return {std::uint16_t(sign | (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13)};
}

// One name for any stored float, so that a kernel template reads all of them.
SINTER_HOST_DEVICE constexpr float to_float(float x) { return x; }
SINTER_HOST_DEVICE constexpr double to_float(double x) { return x; }

template <class T>
SINTER_HOST_DEVICE constexpr T from_float(double x) {
  return T(x);
}
template <>
SINTER_HOST_DEVICE constexpr f16 from_float<f16>(double x) {
  return to_f16(float(x));
}
template <>
SINTER_HOST_DEVICE constexpr bf16 from_float<bf16>(double x) {
  return to_bf16(float(x));
}

}  // namespace sinter
