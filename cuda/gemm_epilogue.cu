#include "cuda/kernels.h"
#include "cuda/launch.cuh"

namespace sinter::cuda {
namespace {

// gelu(v) = v·Φ(v), by the complementary error function so that the left tail does not cancel.
template <class T>
__device__ T activated(T v, Activation a) {
  switch (a) {
    case Activation::none: return v;
    case Activation::relu: return v < 0 ? T(0) : v;
    case Activation::gelu: return v * T(0.5) * erfc(v * T(-0.70710678118654752440));
    case Activation::silu: return v / (1 + exp(-v));
  }
  return v;
}

template <class T>
struct Finish {
  const T* p;
  std::int64_t p_stride;
  T* c;
  std::int64_t c_stride, rows, cols;
  const T* bias;  // or null
  Activation activation;
  T beta;
};

// c = beta·c + act(p + bias), where a beta of 0 does not read c;  p, c [rows, cols]
template <class T>
__global__ void finish(Finish<T> f) {
  const std::int64_t j = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= f.cols) return;
  const T bias = f.bias ? f.bias[j] : T(0);
  for (std::int64_t i = blockIdx.y; i < f.rows; i += gridDim.y) {
    const T v = activated(f.p[i * f.p_stride + j] + bias, f.activation);
    T* const out = f.c + i * f.c_stride + j;
    *out = f.beta == 0 ? v : f.beta * *out + v;
  }
}

}  // namespace

void gemm_epilogue(const ConstView& p, const Epilogue& e, const View& c) {
  visit_float(c.dtype(), "gemm", [&]<class T>() {
    const T* const bias = e.bias ? e.bias.data<T>().data() : nullptr;
    launch(
        "gemm_epilogue", finish<T>, matrix_grid(c.rows(), c.cols()),
        Finish<T>{p.data<T>(), p.stride(), c.data<T>(), c.stride(), c.rows(), c.cols(), bias, e.activation, T(e.beta)});
  });
}

}  // namespace sinter::cuda
