#include "train/data/python_random.h"

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace sinter {

// init_by_array with the seed's 32-bit words, the lowest first, as the key.
PythonRandom::PythonRandom(std::uint64_t seed) {
  state_[0] = 19650218;
  const auto mixed = [this](std::size_t i, std::uint32_t factor) {
    return state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * factor);
  };
  for (std::size_t i = 1; i < kSize; ++i)
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + std::uint32_t(i);
  const std::uint32_t key[2] = {std::uint32_t(seed), std::uint32_t(seed >> 32)};
  const std::uint32_t words = key[1] ? 2 : 1;
  std::size_t i = 1;
  const auto advance = [&] {
    if (++i < kSize) return;
    state_[0] = state_[kSize - 1];
    i = 1;
  };
  for (std::size_t step = 0; step < kSize; ++step) {
    const std::uint32_t j = std::uint32_t(step) % words;
    state_[i] = mixed(i, 1664525u) + key[j] + j;
    advance();
  }
  for (std::size_t step = 1; step < kSize; ++step) {
    state_[i] = mixed(i, 1566083941u) - std::uint32_t(i);
    advance();
  }
  state_[0] = 0x80000000u;
}

void PythonRandom::twist() {
  constexpr std::size_t kFar = 397;
  for (std::size_t i = 0; i < kSize; ++i) {
    const std::uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % kSize] & 0x7fffffffu);
    state_[i] = state_[(i + kFar) % kSize] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0u);
  }
  at_ = 0;
}

std::uint32_t PythonRandom::next() {
  if (at_ == kSize) twist();
  std::uint32_t y = state_[at_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

std::uint64_t PythonRandom::bits(int count) {
  if (count <= 32) return next() >> (32 - count);
  const std::uint64_t low = next();
  return low | std::uint64_t(next() >> (64 - count)) << 32;
}

std::uint64_t PythonRandom::below(std::uint64_t n) {
  const int width = std::bit_width(n);
  std::uint64_t r = bits(width);
  while (r >= n) r = bits(width);
  return r;
}

std::int64_t PythonRandom::between(std::int64_t a, std::int64_t b) {
  return a + std::int64_t(below(std::uint64_t(b) - std::uint64_t(a) + 1));
}

}  // namespace sinter
