#pragma once
#include <cuda_runtime_api.h>

#include <memory>
#include <string_view>
#include <type_traits>

struct cublasContext;

namespace sinter::cuda {

// Error(out_of_memory) or Error(device) "cuda: <what>: <what CUDA says>" unless the status is a success. `what` names
// the kernel or the transfer.
void check(cudaError_t status, std::string_view what);
void check_blas(int status, std::string_view what);  // a cublasStatus_t

// Throws Error(device) when there is no driver or no device.
void require_device();

// The device in use (CUDA's number 0; CUDA_VISIBLE_DEVICES chooses which card that is), its one compute stream and its
// cuBLAS handle. Kernels only queue work; a transfer to or from the host is what waits. One thread at a time queues.
class Runtime {
 public:
  static Runtime& get();  // made on first use, never destroyed: tensors may outlive main

  cudaStream_t stream() const { return stream_.get(); }
  cublasContext* blas() const { return blas_.get(); }

  // After each launch: throws when the launch itself failed. A kernel that fails while running is reported by the next
  // launch or transfer, which names the last one queued; CUDA_LAUNCH_BLOCKING=1 makes that the culprit.
  void launched(std::string_view kernel);
  void synchronize(std::string_view what);  // waits for the stream

 private:
  struct DestroyStream {
    void operator()(cudaStream_t) const noexcept;
  };
  struct DestroyBlas {
    void operator()(cublasContext*) const noexcept;
  };
  struct FreeBlock {
    void operator()(std::byte*) const noexcept;
  };

  Runtime();
  std::unique_ptr<std::remove_pointer_t<cudaStream_t>, DestroyStream> stream_;
  std::unique_ptr<std::byte, FreeBlock> workspace_;  // fixed, so that cuBLAS gives the same bits each time
  std::unique_ptr<cublasContext, DestroyBlas> blas_;
  std::string_view last_kernel_ = "no kernel";
};

}  // namespace sinter::cuda
