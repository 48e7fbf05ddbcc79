#include <immintrin.h>

#include "ops/isa/tables.h"

#define SINTER_LANES 8

namespace sinter {
namespace {
#include "ops/isa/vector.inl"

#include "ops/isa/packed.inl"

#include "ops/isa/expand.inl"

#include "ops/isa/digits.inl"

#include "ops/isa/sparse.inl"

#include "ops/isa/attention_tile.inl"

#include "ops/isa/kernels.inl"
}  // namespace

const CpuKernels kAvx2Kernels = table("avx2");

}  // namespace sinter
