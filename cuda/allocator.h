#pragma once
#include <mutex>
#include <unordered_map>

#include "core/allocator.h"
#include "core/block_cache.h"

namespace sinter::cuda {

// Where blocks come from: cudaMalloc, or what a test puts in its place.
struct BlockSource {
  std::byte* (*obtain)(std::size_t bytes);  // null when there is no more
  void (*release)(std::byte*);
};

// Freed blocks are kept for reuse: cudaMalloc is slow and cudaFree waits for the device. Reuse needs no waiting, since
// all work is queued on one stream. When the source has no more, the kept blocks go back to it and it is asked once
// again; then Error(out_of_memory) with what was asked for, what is in use, and the peak.
class CudaAllocator final : public Allocator {
 public:
  explicit CudaAllocator(BlockSource source) : source_(source) {}
  ~CudaAllocator() override { trim(); }

  std::byte* allocate(std::size_t bytes) override;
  void deallocate(std::byte* p, std::size_t bytes) noexcept override;
  void trim() noexcept override;
  MemoryStats stats() const override;
  void reset_peak() override;

  // The block for a request: multiples of 512 bytes below a MiB, of a MiB from there on.
  static constexpr std::size_t block_size(std::size_t bytes) {
    constexpr std::size_t kSmall = 512, kMiB = 1 << 20;
    const std::size_t step = bytes < kMiB ? kSmall : kMiB;
    return bytes == 0 ? kSmall : (bytes + step - 1) / step * step;
  }

 private:
  std::byte* obtain(std::size_t bytes);
  void release_kept() noexcept;

  mutable std::mutex mutex_;
  BlockSource source_;
  MemoryStats s_;
  BlockCache cache_{SIZE_MAX};
  std::unordered_map<std::byte*, std::size_t> blocks_;  // every block of ours, with its size
};

CudaAllocator& device_allocator();  // over cudaMalloc; never destroyed: tensors may outlive main

}  // namespace sinter::cuda
