#include "cuda/runtime.h"

#include <cublas_v2.h>

#include "core/error.h"
#include "cuda/allocator.h"

namespace sinter::cuda {
namespace {

constexpr std::size_t kWorkspace = 32 << 20;  // what cuBLAS recommends for Hopper; enough for older cards

}  // namespace

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) [[likely]]
    return;
  const auto code = status == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::device;
  fail(code, "cuda", what, ": ", cudaGetErrorString(status));
}

void check_blas(int status, std::string_view what) {
  require(status == CUBLAS_STATUS_SUCCESS, ErrorCode::device, "cuda", what, ": ",
          cublasGetStatusString(cublasStatus_t(status)));
}

void require_device() {
  int driver = 0, devices = 0;
  const bool known = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
  require(known, ErrorCode::device, "cuda", "this machine has no NVIDIA driver");
  const cudaError_t status = cudaGetDeviceCount(&devices);
  require(status != cudaErrorNoDevice && (status != cudaSuccess || devices > 0), ErrorCode::device, "cuda",
          "this machine has no CUDA device");
  check(status, "looking for devices");
}

void Runtime::DestroyStream::operator()(cudaStream_t s) const noexcept { static_cast<void>(cudaStreamDestroy(s)); }
void Runtime::DestroyBlas::operator()(cublasContext* h) const noexcept { static_cast<void>(cublasDestroy(h)); }
void Runtime::FreeBlock::operator()(std::byte* p) const noexcept { device_allocator().deallocate(p, kWorkspace); }

Runtime::Runtime() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making the stream");
  stream_.reset(stream);
  workspace_.reset(device_allocator().allocate(kWorkspace));

  cublasHandle_t handle = nullptr;
  check_blas(cublasCreate(&handle), "starting cuBLAS");
  blas_.reset(handle);
  check_blas(cublasSetStream(handle, stream), "cublasSetStream");
  check_blas(cublasSetWorkspace(handle, workspace_.get(), kWorkspace), "cublasSetWorkspace");
  check_blas(cublasSetAtomicsMode(handle, CUBLAS_ATOMICS_NOT_ALLOWED), "cublasSetAtomicsMode");
  // f32 means f32: neither TF32 nor emulation by narrower products.
  check_blas(cublasSetMathMode(handle, CUBLAS_PEDANTIC_MATH), "cublasSetMathMode");
}

Runtime& Runtime::get() {
  static auto* const runtime = new Runtime;
  return *runtime;
}

void Runtime::launched(std::string_view kernel) {
  if (const cudaError_t status = cudaGetLastError(); status != cudaSuccess) [[unlikely]]
    fail(ErrorCode::device, "cuda", kernel, " after ", last_kernel_, ": ", cudaGetErrorString(status));
  last_kernel_ = kernel;
}

void Runtime::synchronize(std::string_view what) {
  const cudaError_t status = cudaStreamSynchronize(stream());
  require(status == cudaSuccess, ErrorCode::device, "cuda", what, " after ", last_kernel_, ": ",
          cudaGetErrorString(status));
}

}  // namespace sinter::cuda
