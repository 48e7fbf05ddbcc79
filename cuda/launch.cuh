#pragma once
#include <string_view>
#include <type_traits>

#include "cuda/grid.h"
#include "cuda/runtime.h"

namespace sinter::cuda {

// Queues kernel(args...) on the stream; an empty grid is no work. `name` is what an error says.
template <class... Params>
void launch(std::string_view name, void (*kernel)(Params...), Grid g, std::type_identity_t<Params>... args) {
  if (g.empty()) return;
  Runtime& runtime = Runtime::get();
  kernel<<<dim3(g.x, g.y), g.threads, 0, runtime.stream()>>>(args...);
  runtime.launched(name);
}

// f(i) for the i of 0..n that are this thread's, under elements_grid(n).
template <class F>
__device__ void grid_stride(std::int64_t n, F f) {
  const std::int64_t step = std::int64_t(gridDim.x) * blockDim.x;
  for (std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

}  // namespace sinter::cuda
