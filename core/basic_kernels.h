#pragma once
#include "core/kernel_slot.h"
#include "core/tensor.h"

namespace sinter {

// What values need before there are ops: copies, zeros, casts, sums. Slots, so that CUDA plugs in.
extern KernelSlot<void(std::byte*, const std::byte*, std::size_t)> copy_bytes;  // on one device
extern KernelSlot<void(std::byte*, std::size_t)> zero_bytes;
extern KernelSlot<void(Tensor& into, const Tensor& x)> accumulate;  // into += x; f32, f64
extern KernelSlot<void(const Tensor& from, Tensor& to)> cast_kernel;  // any float to any float

// Host <-> device copies; each CUDA build installs them as kernels of DeviceKind::cuda.
extern KernelSlot<void(std::byte* to, const std::byte* host, std::size_t)> upload_bytes;
extern KernelSlot<void(std::byte* host, const std::byte* from, std::size_t)> download_bytes;

Tensor cast(const Tensor&, DType);  // itself when the type is already right
// Cast when every value survives it bit for bit, else the tensor itself.
Tensor cast_if_exact(const Tensor&, DType);

}  // namespace sinter
