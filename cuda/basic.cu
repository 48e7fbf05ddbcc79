#include "core/tensor.h"
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/types.cuh"

namespace sinter::cuda {
namespace {

// y += x
template <class T>
__global__ void accumulate_all(T* y, const T* x, std::int64_t n) {
  grid_stride(n, [=](std::int64_t i) { y[i] += x[i]; });
}

template <class A, class B>
__global__ void cast_all(B* y, const A* x, std::int64_t n) {
  grid_stride(n, [=](std::int64_t i) { y[i] = narrow<B>(widen(x[i])); });
}

}  // namespace

void copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, Runtime::get().stream()), "copy");
}

void zero(std::byte* to, std::size_t bytes) { check(cudaMemsetAsync(to, 0, bytes, Runtime::get().stream()), "zero"); }

void upload(std::byte* to, const std::byte* host, std::size_t bytes) {
  check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, Runtime::get().stream()), "upload");
  Runtime::get().synchronize("upload");
}

void download(std::byte* host, const std::byte* from, std::size_t bytes) {
  check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, Runtime::get().stream()), "download");
  Runtime::get().synchronize("download");
}

void accumulate(Tensor& into, const Tensor& x) {
  require(into.shape() == x.shape(), ErrorCode::shape, "accumulate", x.shape(), " into ", into.shape());
  visit_float(x.dtype(), "accumulate", [&]<class T>() {
    launch("accumulate", accumulate_all<T>, elements_grid(x.numel()), into.mutable_data<T>().data(), x.data<T>().data(),
           x.numel());
  });
}

void cast(const Tensor& from, Tensor& to) {
  visit_stored(from.dtype(), "cast", [&]<class A>() {
    visit_stored(to.dtype(), "cast", [&]<class B>() {
      launch("cast", cast_all<cuda_t<A>, cuda_t<B>>, elements_grid(from.numel()),
             reinterpret_cast<cuda_t<B>*>(to.mutable_data<B>().data()),
             reinterpret_cast<const cuda_t<A>*>(from.data<A>().data()), from.numel());
    });
  });
}

void require_code_for_device() {
  cudaFuncAttributes unused;
  check(cudaFuncGetAttributes(&unused, accumulate_all<float>), "this build is for other cards (CUDA_ARCH)");
}

}  // namespace sinter::cuda
