#pragma once
#include "cuda/grid.h"

// Sums in a fixed order, without atomics: the same bits on every run and every card.
namespace sinter::cuda {

// Σ v over the threads of the block: lanes in pairs, then warps in turn. Every thread calls it and gets the sum.
template <class T>
__device__ T block_sum(T v) {
  __shared__ T of_warp[kThreads / kWarp];
  for (int step = int(kWarp) / 2; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
  __syncthreads();  // nobody still reads the sums of the call before
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = v;
  __syncthreads();
  T sum = 0;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) sum += of_warp[w];
  return sum;
}

inline constexpr std::int64_t kColumnThreads = 8;  // that share one column of column_sum

// out[j] = Σ_p x[p, j]: each of eight threads takes every eighth row, then the eight are added in turn. x [rows, cols]
template <class T>
__global__ void column_sum(const T* x, std::int64_t rows, std::int64_t cols, T* out) {
  __shared__ T part[kColumnThreads][kWarp];
  const unsigned lane = threadIdx.x % kWarp, first = threadIdx.x / kWarp;
  const std::int64_t j = std::int64_t(blockIdx.x) * kWarp + lane;
  T sum = 0;
  if (j < cols)
    for (std::int64_t p = first; p < rows; p += kColumnThreads) sum += x[p * cols + j];
  part[first][lane] = sum;
  __syncthreads();
  if (first != 0 || j >= cols) return;
  for (int p = 1; p < kColumnThreads; ++p) sum += part[p][lane];
  out[j] = sum;
}
constexpr Grid column_sum_grid(std::int64_t cols) {
  return {unsigned(ceil_div(cols, kWarp)), 1, unsigned(kWarp * kColumnThreads)};
}

}  // namespace sinter::cuda
