#include "ops/isa/kernels.h"

#include <cpuid.h>

#include <vector>

#include "ops/isa/tables.h"

namespace sinter {
namespace {

bool has_f16c() {  // clang 14 does not know it by name
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

// By feature bits (the compiler's test includes what the system saves), never by processor model.
std::vector<const CpuKernels*> detect() {
  std::vector<const CpuKernels*> found{&kBaselineKernels};
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (avx2) found.push_back(&kAvx2Kernels);
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx2 && avx512) found.push_back(&kAvx512Kernels);
  const bool vnni = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
                    __builtin_cpu_supports("avx512vbmi2");
  if (avx2 && avx512 && vnni) found.push_back(&kAvx512VnniKernels);
  return found;
}

}  // namespace

std::span<const CpuKernels* const> supported_kernels() {
  static const std::vector<const CpuKernels*> tables = detect();
  return tables;
}

const CpuKernels& cpu_kernels() {
  static const CpuKernels& best = *supported_kernels().back();
  return best;
}

}  // namespace sinter
