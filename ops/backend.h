#pragma once
#include "core/device.h"

namespace sinter {

// Call before the first use of a device: for CUDA installs its kernels and allocator once. Error(usage) when this build
// has no CUDA, Error(device) when this machine has no device that it can use.
void require_backend(DeviceKind);

}  // namespace sinter
