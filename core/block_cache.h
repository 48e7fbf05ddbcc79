#pragma once
#include <cstddef>
#include <iterator>
#include <map>

namespace sinter {

// Free blocks kept for reuse, best fit first. Shared by the host and the CUDA allocator; the owner locks.
class BlockCache {
 public:
  explicit BlockCache(std::size_t limit) : limit_(limit) {}

  // The smallest kept block of at least `bytes` that wastes at most an eighth, or null.
  std::byte* take(std::size_t bytes) {
    const auto it = free_.lower_bound(bytes);
    if (it == free_.end() || it->first > bytes + bytes / 8) return nullptr;
    std::byte* p = it->second;
    kept_ -= it->first;
    free_.erase(it);
    return p;
  }
  bool keep(std::byte* p, std::size_t bytes) {  // false: the cache is full, the caller frees
    if (kept_ + bytes > limit_) return false;
    free_.emplace(bytes, p);
    kept_ += bytes;
    return true;
  }
  std::size_t kept() const { return kept_; }
  // Frees the largest blocks until at least `bytes` are gone.
  template <class Free>
  void shrink(std::size_t bytes, Free free_block) {
    for (std::size_t gone = 0; gone < bytes && !free_.empty();) {
      const auto last = std::prev(free_.end());
      gone += last->first;
      kept_ -= last->first;
      free_block(last->second, last->first);
      free_.erase(last);
    }
  }
  template <class Free>
  void clear(Free free_block) {
    for (auto& [bytes, p] : free_) free_block(p, bytes);
    free_.clear();
    kept_ = 0;
  }

 private:
  std::size_t limit_, kept_ = 0;
  std::multimap<std::size_t, std::byte*> free_;
};

}  // namespace sinter
