#pragma once
#include "ops/isa/kernels.h"

namespace sinter {

// One per translation unit of ops/isa; call only through cpu_kernels() or supported_kernels().
extern const CpuKernels kBaselineKernels, kAvx2Kernels, kAvx512Kernels, kAvx512VnniKernels;

}  // namespace sinter
