#include "ops/dropout.h"

#include <cmath>

#include "cuda/kernels.h"
#include "cuda/launch.cuh"

namespace sinter::cuda {
namespace {

// y_i = x_i·gain where lane i mod 4 of Philox block i / 4 reaches the threshold, else 0: the CPU's bits.
template <class T>
__global__ void drop(const T* x, T* y, std::int64_t n, std::uint64_t threshold, T gain, Rng rng) {
  grid_stride(ceil_div(n, 4), [=](std::int64_t block) {
    const U32x4 r = philox(rng.seed, rng.stream, std::uint64_t(block));
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) {
      const std::int64_t i = block * 4 + lane;
      if (i < n) y[i] = r.v[lane] >= threshold ? x[i] * gain : T(0);
    }
  });
}

}  // namespace

void dropout(const Tensor& x, double p, Rng rng, Tensor& y) {
  const auto threshold = std::uint64_t(std::ceil(p * 0x1p32));
  visit_float(x.dtype(), "dropout", [&]<class T>() {
    launch("dropout", drop<T>, elements_grid(ceil_div(x.numel(), 4)), x.data<T>().data(), y.mutable_data<T>().data(),
           x.numel(), threshold, T(1 / (1 - p)), rng);
  });
}

}  // namespace sinter::cuda
