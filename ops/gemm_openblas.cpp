#include <openblas-pthread/cblas.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/gemm_tile.h"

// What OpenBLAS itself calls for a buffer; its header does not show them.
extern "C" void* blas_memory_alloc(int);
extern "C" void blas_memory_free(void*);

namespace sinter {
namespace {

// Its own threading changes bits from one thread count to another; ours calls it on tiles. Said before its own
// constructor runs, which would start a thread per core, each with a buffer, and wait for ever where that cannot be had.
[[gnu::constructor(101)]] void start_no_threads() { ::setenv("OPENBLAS_NUM_THREADS", "1", 1); }

// A product takes a buffer of this size from OpenBLAS, which keeps it for the next one, and asks the system again and
// again when there is none. So the buffers of all threads are taken once, and only when they can be had.
constexpr std::size_t kBuffer = (std::size_t{128} << 20) + (64 << 10);
constexpr int kMostBuffers = 64;

void reserve_buffers() {
  static std::atomic<int> reserved{0};
  const int wanted = std::min(threads(), kMostBuffers);
  if (reserved >= wanted) return;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (reserved >= wanted) return;
  const std::size_t bytes = std::size_t(wanted - reserved) * kBuffer;
  void* probe = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(probe != MAP_FAILED, ErrorCode::out_of_memory, "matrix products", "need ", kBuffer >> 20,
          " MiB of address space for each of ", wanted, " threads, which the system does not give");
  ::munmap(probe, bytes);
  std::vector<void*> held;
  while (int(held.size()) < wanted) held.push_back(blas_memory_alloc(0));
  for (void* buffer : held) blas_memory_free(buffer);
  reserved = wanted;
}

CBLAS_TRANSPOSE side(Trans t) { return t == Trans::no ? CblasNoTrans : CblasTrans; }

}  // namespace

void blas_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<float> a, Factor<float> b, float beta,
                  float* c, std::int64_t ldc) {
  reserve_buffers();
  cblas_sgemm(CblasRowMajor, side(a.trans), side(b.trans), int(m), int(n), int(k), 1.f, a.data, int(a.stride), b.data,
              int(b.stride), beta, c, int(ldc));
}
void blas_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<double> a, Factor<double> b, double beta,
                  double* c, std::int64_t ldc) {
  reserve_buffers();
  cblas_dgemm(CblasRowMajor, side(a.trans), side(b.trans), int(m), int(n), int(k), 1., a.data, int(a.stride), b.data,
              int(b.stride), beta, c, int(ldc));
}

}  // namespace sinter
