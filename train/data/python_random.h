#pragma once
#include <array>
#include <cstdint>

namespace sinter {

// Python's random.Random, for reproducing what Python programs drew: MT19937 (Matsumoto & Nishimura 1998), seeded as
// random.seed(int) does, whole numbers drawn by rejection.
class PythonRandom {
 public:
  explicit PythonRandom(std::uint64_t seed);
  std::uint32_t next();  // 32 random bits
  std::uint64_t bits(int count);  // getrandbits(count), 1 <= count <= 64
  std::uint64_t below(std::uint64_t n);  // randint(0, n - 1), n >= 1
  std::int64_t between(std::int64_t a, std::int64_t b);  // randint(a, b), both ends included, a <= b

 private:
  static constexpr std::size_t kSize = 624;
  void twist();
  std::array<std::uint32_t, kSize> state_;
  std::size_t at_ = kSize;
};

}  // namespace sinter
