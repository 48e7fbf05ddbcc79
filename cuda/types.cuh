#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/half.h"

namespace sinter::cuda {

// The hardware's type with the same bits as a stored type.
template <class T>
struct CudaType {
  using type = T;
};
template <>
struct CudaType<f16> {
  using type = __half;
};
template <>
struct CudaType<bf16> {
  using type = __nv_bfloat16;
};
template <class T>
using cuda_t = typename CudaType<T>::type;
static_assert(sizeof(cuda_t<f16>) == sizeof(f16) && sizeof(cuda_t<bf16>) == sizeof(bf16));

// To the type that arithmetic happens in (exact), and back (to nearest even; from f64 through f32, as core/half.h).
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(float x) { return x; }
__device__ inline float widen(__half x) { return __half2float(x); }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
__device__ T narrow(double x) {
  if constexpr (std::is_same_v<T, __half>) return __float2half_rn(float(x));
  else if constexpr (std::is_same_v<T, __nv_bfloat16>) return __float2bfloat16_rn(float(x));
  else return T(x);
}

}  // namespace sinter::cuda
