#pragma once
#include <cstddef>
#include <memory>

#include "core/allocator.h"

namespace sinter {

// Where borrowed bytes come from: those of a mapped file can be read again once their pages are gone.
enum class Backing : bool { memory, file };

// One block on one device, shared by views: owned, or borrowed from a mapping that it keeps alive.
class Storage {
 public:
  Storage(Device d, std::size_t bytes)
      : device_(d), bytes_(bytes), owner_(&allocator_of(d)), data_(owner_->allocate(bytes)) {}
  // Borrows read-only bytes; `keeper` stays alive as long as the storage does.
  Storage(const std::byte* data, std::size_t bytes, std::shared_ptr<const void> keeper, Backing backing)
      : bytes_(bytes), data_(const_cast<std::byte*>(data)), keeper_(std::move(keeper)), backing_(backing) {}
  ~Storage() {
    if (owner_) owner_->deallocate(data_, bytes_);
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  Device device() const { return device_; }
  std::size_t bytes() const { return bytes_; }
  bool borrowed() const { return owner_ == nullptr; }
  Backing backing() const { return backing_; }
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }

 private:
  Device device_{};
  std::size_t bytes_;
  Allocator* owner_ = nullptr;
  std::byte* data_;
  std::shared_ptr<const void> keeper_;
  Backing backing_ = Backing::memory;
};

}  // namespace sinter
