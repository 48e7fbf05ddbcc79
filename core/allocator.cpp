#include "core/allocator.h"

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <unordered_map>

#include "core/block_cache.h"
#include "core/error.h"

namespace sinter {
namespace {

constexpr std::size_t kCached = 64 << 10;  // smaller requests are malloc's business
constexpr int kMapped = 1 << 20;  // from here on a block is a mapping of its own, which goes back whole
constexpr std::size_t kHuge = 4 << 20;  // from here on ask for huge pages
constexpr std::size_t kCacheLimit = 1 << 30;
constexpr std::size_t kUnnoticed = 64 << 20;  // up to here free blocks may add to the most that was alive at once

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

class HostAllocator final : public Allocator {
 public:
  // A threshold that follows what was freed would put large blocks of many sizes on one heap, which then has holes.
  HostAllocator() {
#ifdef M_MMAP_THRESHOLD
    (void)mallopt(M_MMAP_THRESHOLD, kMapped);
#endif
  }
  ~HostAllocator() override { trim(); }

  std::byte* allocate(std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    std::byte* p = obtain(bytes);
    if (!p) {
      release_cache();
      p = obtain(bytes);
    }
    require(p != nullptr, ErrorCode::out_of_memory, "memory", bytes, " bytes on cpu; ", s_.live, " in use, peak ",
            s_.peak);
    s_.live += bytes;
    s_.peak = std::max(s_.peak, s_.live);
    highest_ = std::max(highest_, s_.live);
    s_.largest = std::max(s_.largest, bytes);
    ++s_.calls;
    return p;
  }
  void deallocate(std::byte* p, std::size_t bytes) noexcept override {
    const std::lock_guard lock(mutex_);
    s_.live -= bytes;
    const auto it = blocks_.find(p);
    if (it == blocks_.end() || !cache_.keep(p, it->second)) forget(p);
  }
  void trim() noexcept override {
    const std::lock_guard lock(mutex_);
    release_cache();
  }
  MemoryStats stats() const override {
    const std::lock_guard lock(mutex_);
    return s_;
  }
  void reset_peak() override {
    const std::lock_guard lock(mutex_);
    s_.peak = s_.live;
    s_.largest = s_.calls = 0;
  }

 private:
  std::byte* obtain(std::size_t bytes) {
    if (bytes > SIZE_MAX / 2) return nullptr;
    if (bytes < kCached)
      return static_cast<std::byte*>(std::aligned_alloc(64, round_up(std::max<std::size_t>(bytes, 1), 64)));
    const std::size_t size = round_up(bytes, 4096);
    if (std::byte* p = cache_.take(size)) return p;
    make_room(size);
    const bool huge = size >= kHuge;
    auto* p = static_cast<std::byte*>(std::aligned_alloc(huge ? 2 << 20 : 4096, huge ? round_up(size, 2 << 20) : size));
    if (!p) return nullptr;
    if (huge) (void)madvise(p, size, MADV_HUGEPAGE);
    blocks_.emplace(p, size);
    return p;
  }
  // New memory takes the place of cached blocks of other sizes: a program's peak is then that of what was alive, not the
  // sum of the peaks of its phases.
  void make_room(std::size_t size) noexcept {
    const std::size_t most = std::max(kUnnoticed, highest_), wanted = s_.live + cache_.kept() + size;
    if (wanted > most) cache_.shrink(wanted - most, [this](std::byte* p, std::size_t) { forget(p); });
  }
  void forget(std::byte* p) noexcept {
    blocks_.erase(p);
    std::free(p);
  }
  void release_cache() noexcept {
    cache_.clear([this](std::byte* p, std::size_t) { forget(p); });
  }

  mutable std::mutex mutex_;
  MemoryStats s_;
  std::size_t highest_ = 0;  // live bytes at the most
  BlockCache cache_{kCacheLimit};
  std::unordered_map<std::byte*, std::size_t> blocks_;  // those from kCached on, with their rounded size
};

HostAllocator& host() {
  static auto* a = new HostAllocator;  // outlives every static that may hold a tensor
  return *a;
}
std::array<Allocator*, kDeviceKinds>& current() {
  static std::array<Allocator*, kDeviceKinds> a{&host(), nullptr};
  return a;
}

}  // namespace

Allocator& allocator_of(Device d) {
  Allocator* a = current()[int(d.kind)];
  require(a != nullptr, ErrorCode::device, "memory", "no allocator for ", d);
  return *a;
}

void set_allocator(DeviceKind kind, Allocator* a) {
  current()[int(kind)] = !a && kind == DeviceKind::cpu ? &host() : a;
}

}  // namespace sinter
