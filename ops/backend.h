#pragma once
#include "core/device.h"

namespace sinter {

// Call before the first use of a device: for CUDA installs its kernels and allocator once, or throws Error(usage) when
// this build or this machine has none.
void require_backend(DeviceKind);

}  // namespace sinter
