#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>

#include "core/half.h"  // SINTER_HOST_DEVICE

namespace sinter {

struct U32x4 {
  std::uint32_t v[4];
};

// Philox4x32-10 (Salmon et al., SC'11). A pure function of (key, counter):
// element i of a stream does not depend on threads, blocks or devices.
SINTER_HOST_DEVICE constexpr U32x4 philox(std::uint64_t key, std::uint64_t hi, std::uint64_t lo) {
  std::uint32_t k0 = std::uint32_t(key), k1 = std::uint32_t(key >> 32);
  std::uint32_t c[4] = {std::uint32_t(lo), std::uint32_t(lo >> 32), std::uint32_t(hi), std::uint32_t(hi >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t(0xD2511F53u) * c[0];
    const std::uint64_t p1 = std::uint64_t(0xCD9E8D57u) * c[2];
    const std::uint32_t n0 = std::uint32_t(p1 >> 32) ^ c[1] ^ k0;
    const std::uint32_t n2 = std::uint32_t(p0 >> 32) ^ c[3] ^ k1;
    c[0] = n0;
    c[1] = std::uint32_t(p1);
    c[2] = n2;
    c[3] = std::uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c[0], c[1], c[2], c[3]}};
}

// A named stream. Copy it freely; nothing advances behind your back.
struct Rng {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;
  SINTER_HOST_DEVICE constexpr Rng fork(std::uint64_t id) const {
    const U32x4 r = philox(seed, stream, id ^ 0x9E3779B97F4A7C15ull);
    return {seed, (std::uint64_t(r.v[1]) << 32) | r.v[0]};
  }
  SINTER_HOST_DEVICE constexpr std::uint32_t bits(std::uint64_t i) const {
    return philox(seed, stream, i / 4).v[i % 4];
  }
  SINTER_HOST_DEVICE constexpr float uniform(std::uint64_t i) const { return float(bits(i) >> 8) * 0x1p-24f; }  // exact
  // An integer in [0, n), n <= 2^32; the bias is below n / 2^32.
  SINTER_HOST_DEVICE constexpr std::uint64_t below(std::uint64_t i, std::uint64_t n) const { return bits(i) * n >> 32; }
  // Box-Muller through libm: drawn on the host only (initialisation).
  double normal(std::uint64_t i) const {
    const double u = (double(bits(2 * i)) + 0.5) * 0x1p-32, v = double(bits(2 * i + 1)) * 0x1p-32;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }
};

}  // namespace sinter
