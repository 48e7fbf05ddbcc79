#include "cuda/allocator.h"

#include <cstdint>
#include <cstdlib>

#include "test/check.h"

using namespace sinter;
using cuda::CudaAllocator;

namespace {

// A device with little memory, made of the host's.
std::size_t room, taken, requests;
std::byte* obtain(std::size_t bytes) {
  ++requests;
  if (taken + bytes > room) return nullptr;
  auto* p = static_cast<std::byte*>(std::malloc(bytes + 16));
  *reinterpret_cast<std::size_t*>(p) = bytes;
  taken += bytes;
  return p + 16;
}
void release(std::byte* p) {
  taken -= *reinterpret_cast<std::size_t*>(p - 16);
  std::free(p - 16);
}

CudaAllocator small_device(std::size_t bytes) {
  room = bytes;
  taken = requests = 0;
  return CudaAllocator({obtain, release});
}

}  // namespace

TEST_CASE("A block is at least the request and wastes less than a MiB") {
  for (const std::size_t bytes : {0, 1, 511, 512, 513, 1'048'575, 1'048'576, 1'048'577, 123'456'789}) {
    const std::size_t block = CudaAllocator::block_size(bytes);
    CHECK(block >= bytes);
    CHECK(block > 0);
    CHECK(block - bytes < 1 << 20);
    CHECK(block % 512 == 0);
  }
}

TEST_CASE("A freed block serves the next request of about its size without asking the device") {
  CudaAllocator a = small_device(1 << 20);
  std::byte* p = a.allocate(1000);
  a.deallocate(p, 1000);
  CHECK(a.allocate(1020) == p);
  CHECK(requests == 1);
  std::byte* q = a.allocate(1000);
  CHECK(q != p);
  a.deallocate(p, 1020);
  a.deallocate(q, 1000);
}

TEST_CASE("Statistics count what was asked for, not the blocks") {
  CudaAllocator a = small_device(1 << 20);
  std::byte *p = a.allocate(1000), *q = a.allocate(10);
  CHECK(a.stats().live == 1010);
  a.deallocate(p, 1000);
  CHECK(a.stats().live == 10);
  CHECK(a.stats().peak == 1010);
  CHECK(a.stats().largest == 1000);
  CHECK(a.stats().calls == 2);
  a.reset_peak();
  CHECK(a.stats().peak == 10);
  CHECK(a.stats().calls == 0);
  a.deallocate(q, 10);
}

TEST_CASE("When the device is full the kept blocks go back to it and the request is tried once more") {
  CudaAllocator a = small_device(4096);
  std::byte *p = a.allocate(2048), *q = a.allocate(1024);
  a.deallocate(p, 2048);
  std::byte* big = a.allocate(3072);  // does not fit beside the kept 2048
  CHECK(taken == 1024 + 3072);
  a.deallocate(big, 3072);
  a.trim();
  CHECK(taken == 1024);
  a.deallocate(q, 1024);
}

TEST_CASE("Out of memory says how much was asked for, is in use, and was at most, and changes nothing") {
  CudaAllocator a = small_device(4096);
  std::byte* p = a.allocate(2000);
  a.deallocate(a.allocate(1500), 1500);
  CHECK_THROWS_TEXT(out_of_memory, "memory: 3000 bytes on cuda; 2000 in use, peak 3500", a.allocate(3000));
  CHECK_THROWS_CODE(out_of_memory, a.allocate(SIZE_MAX));
  CHECK(a.stats().live == 2000);
  std::byte* q = a.allocate(2000);
  CHECK(q != nullptr);
  a.deallocate(p, 2000);
  a.deallocate(q, 2000);
}

TEST_CASE("The allocator gives everything back when it ends") {
  {
    CudaAllocator a = small_device(1 << 20);
    a.deallocate(a.allocate(5000), 5000);
    CHECK(taken > 0);
  }
  CHECK(taken == 0);
}
