#pragma once
#include "core/error.h"
#include "core/tensor.h"
#include "cuda/runtime.h"
#include "ops/backend.h"

// What the tests that need a GPU share: TEST_CASE("..." * doctest::skip(!has_device())).
namespace sinter::test {

inline constexpr Device kCuda{DeviceKind::cuda, 0};

inline bool has_device() {
  try {
    cuda::require_device();
    return true;
  } catch (const Error&) { return false; }
}

inline Tensor on_device(const Tensor& x) {
  require_backend(DeviceKind::cuda);
  return x ? x.to(kCuda) : Tensor();
}
inline Tensor on_host(const Tensor& x) { return x ? x.to(Device{}) : Tensor(); }

// Elements that must be overwritten.
inline Tensor poison(Shape s, DType d) { return on_device(Tensor::full(s, -77, d)); }

}  // namespace sinter::test
