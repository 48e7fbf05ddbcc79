#include <immintrin.h>

#include "ops/isa/tables.h"

#define SINTER_LANES 16

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

const CpuKernels kAvx512VnniKernels = table("avx512vnni");

}  // namespace sinter
