#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace sinter {

// FNV-1a, 64 bits: tells different data apart, not made to resist anybody.
class Fnv64 {
 public:
  void add(std::string_view bytes) {
    for (const char c : bytes) hash_ = (hash_ ^ std::uint8_t(c)) * 0x100000001b3ull;
  }
  std::uint64_t value() const { return hash_; }
  std::string hex() const {
    char text[20];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash_));
    return text;
  }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325ull;
};

}  // namespace sinter
