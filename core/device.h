#pragma once
#include <cstdint>
#include <ostream>

namespace sinter {

enum class DeviceKind : std::uint8_t { cpu, cuda };
inline constexpr int kDeviceKinds = 2;

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  friend bool operator==(const Device&, const Device&) = default;
  friend std::ostream& operator<<(std::ostream& os, const Device& d) {
    if (d.kind == DeviceKind::cpu) return os << "cpu";
    return os << "cuda:" << d.index;
  }
};

}  // namespace sinter
