#pragma once
#include <string_view>
#include "core/device.h"
#include "core/error.h"

namespace sinter {

// One kernel, one function pointer per device kind. The CPU pointer is a
// constant initialiser; cuda/install.cpp adds the CUDA one.
template <class Signature>
class KernelSlot;

template <class... Args>
class KernelSlot<void(Args...)> {
 public:
  using Fn = void (*)(Args...);
  constexpr KernelSlot(std::string_view name, Fn cpu) : name_(name), fn_{cpu, nullptr} {}
  void install(DeviceKind kind, Fn fn) { fn_[static_cast<int>(kind)] = fn; }
  bool has(DeviceKind kind) const { return fn_[static_cast<int>(kind)] != nullptr; }
  std::string_view name() const { return name_; }

  void operator()(Device d, Args... args) const {
    const Fn fn = fn_[static_cast<int>(d.kind)];
    require(fn != nullptr, ErrorCode::unsupported, name_, "no kernel for ", d);
    fn(args...);
  }

 private:
  std::string_view name_;
  Fn fn_[kDeviceKinds];
};

}  // namespace sinter
