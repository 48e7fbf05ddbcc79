#pragma once
#include <atomic>

#include "core/allocator.h"
#include "core/error.h"

namespace sinter::test {

// Fails the k-th request, counts the rest, and hands on to the host's allocator. Kernels allocate on many threads.
class FailAt final : public Allocator {
 public:
  explicit FailAt(std::size_t k) : k_(k) {}
  std::byte* allocate(std::size_t bytes) override {
    require(calls_++ != k_, ErrorCode::out_of_memory, "memory", "request ", k_, " fails");
    std::byte* p = host_.allocate(bytes);
    live_ += bytes;
    return p;
  }
  void deallocate(std::byte* p, std::size_t bytes) noexcept override {
    live_ -= bytes;
    host_.deallocate(p, bytes);
  }
  MemoryStats stats() const override { return {.live = live_, .calls = calls_}; }
  void reset_peak() override {}
  std::size_t calls() const { return calls_; }

 private:
  Allocator& host_ = allocator_of({});
  std::size_t k_;
  std::atomic<std::size_t> calls_ = 0, live_ = 0;
};

}  // namespace sinter::test
