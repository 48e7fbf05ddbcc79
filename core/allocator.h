#pragma once
#include <cstddef>
#include <memory>

#include "core/device.h"

namespace sinter {

// Bytes as requested: what is alive now, the most alive at once, the largest single request, the number of requests.
struct MemoryStats {
  std::size_t live = 0, peak = 0, largest = 0, calls = 0;
};

// One per device: the machine's memory. Thread-safe.
class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual std::byte* allocate(std::size_t bytes) = 0;  // throws Error(out_of_memory); 64-byte aligned
  virtual void deallocate(std::byte* p, std::size_t bytes) noexcept = 0;
  virtual void trim() noexcept {}  // give cached blocks back
  virtual MemoryStats stats() const = 0;
  virtual void reset_peak() = 0;  // peak = live; largest = calls = 0
};

// The allocator in charge of a device's memory now. Storage remembers the one it came from.
Allocator& allocator_of(Device);
void set_allocator(DeviceKind, Allocator*);  // null: back to the default (none for cuda)

// Swaps an allocator in for the CPU, for a test that counts or fails allocations; then the one before is back.
class ScopedAllocator {
 public:
  explicit ScopedAllocator(Allocator& a) : before_(&allocator_of({})) { set_allocator(DeviceKind::cpu, &a); }
  ~ScopedAllocator() { set_allocator(DeviceKind::cpu, before_); }
  ScopedAllocator(const ScopedAllocator&) = delete;
  ScopedAllocator& operator=(const ScopedAllocator&) = delete;

 private:
  Allocator* before_;
};

}  // namespace sinter
