#include "cuda/allocator.h"

#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "cuda/runtime.h"

namespace sinter::cuda {
namespace {

std::byte* device_block(std::size_t bytes) {
  void* p = nullptr;
  const cudaError_t status = cudaMalloc(&p, bytes);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());  // forgotten, so that no later kernel is blamed for it
    return nullptr;
  }
  check(status, "cudaMalloc");
  return static_cast<std::byte*>(p);
}

void release_device_block(std::byte* p) { static_cast<void>(cudaFree(p)); }

}  // namespace

std::byte* CudaAllocator::allocate(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  std::byte* p = obtain(bytes);
  if (!p) {
    release_kept();
    p = obtain(bytes);
  }
  require(p != nullptr, ErrorCode::out_of_memory, "memory", bytes, " bytes on cuda; ", s_.live, " in use, peak ",
          s_.peak);
  s_.live += bytes;
  s_.peak = std::max(s_.peak, s_.live);
  s_.largest = std::max(s_.largest, bytes);
  ++s_.calls;
  return p;
}

std::byte* CudaAllocator::obtain(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  const std::size_t size = block_size(bytes);
  if (std::byte* p = cache_.take(size)) return p;
  std::byte* p = source_.obtain(size);
  if (p) blocks_.emplace(p, size);
  return p;
}

void CudaAllocator::deallocate(std::byte* p, std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  s_.live -= bytes;
  cache_.keep(p, blocks_.find(p)->second);
}

void CudaAllocator::trim() noexcept {
  const std::lock_guard lock(mutex_);
  release_kept();
}

void CudaAllocator::release_kept() noexcept {
  cache_.clear([this](std::byte* p, std::size_t) {
    blocks_.erase(p);
    source_.release(p);
  });
}

MemoryStats CudaAllocator::stats() const {
  const std::lock_guard lock(mutex_);
  return s_;
}

void CudaAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  s_.peak = s_.live;
  s_.largest = s_.calls = 0;
}

CudaAllocator& device_allocator() {
  static auto* const a = new CudaAllocator({device_block, release_device_block});
  return *a;
}

}  // namespace sinter::cuda
