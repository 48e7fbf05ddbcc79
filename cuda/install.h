#pragma once

namespace sinter::cuda {

// Makes DeviceKind::cuda usable: its allocator, and every slot that has a CUDA kernel. Throws Error(device) in one line
// when this machine has no driver, no device, or one that this build has no code for; nothing is installed then.
void install();

// The slots alone; needs no device, so that a test can list what is missing.
void install_kernels();

}  // namespace sinter::cuda
