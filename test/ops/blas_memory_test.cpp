// OpenBLAS waits for ever for a buffer that it cannot have; the engine must not let it come to that.
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "ops/blas_limit.h"
#include "ops/gemm.h"
#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

std::size_t address_space() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * std::size_t(::sysconf(_SC_PAGESIZE));
}

void limit_address_space(rlim_t bytes) {
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_AS, &limit) == 0);
  limit.rlim_cur = bytes;
  REQUIRE(::setrlimit(RLIMIT_AS, &limit) == 0);
}

void stay_on_one_core() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(::sched_getcpu(), &one);
  REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
}

}  // namespace

// In a process of its own, started by the next test case.
TEST_CASE("the first product in 64 MiB of address space" * doctest::skip()) {
  CHECK(std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}) == 1);  // OpenBLAS started none
  stay_on_one_core();
  const Tensor a = randn({50, 40}, 1, DType::f32), b = randn({40, 30}, 2, DType::f32);
  limit_address_space(address_space() + (64 << 20));
  CHECK_THROWS_TEXT(out_of_memory, "128 MiB of address space for each of 1 threads",
                    matmul(a, Trans::no, b, Trans::no));
  limit_address_space(RLIM_INFINITY);
  const Tensor c = matmul(a, Trans::no, b, Trans::no);
  limit_address_space(address_space());  // later products need no more
  CHECK(same_bits(matmul(a, Trans::no, b, Trans::no), c));
}

TEST_CASE("a product for which there is no memory is an error, not a wait without end") {
  const float one = 1;
  float c = 0;
  if (!blas_sgemm_seconds(1, 1, 1, &one, &one, Trans::no, &c, 1)) {
    MESSAGE("skipped: built without OpenBLAS");
    return;
  }
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  MESSAGE("skipped: sanitizers reserve more address space than any limit");
#else
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  CHECK(std::system(("timeout 60 '" + self + "' --no-skip -tc='the first product in 64 MiB*' > /dev/null").c_str()) ==
        0);
#endif
}
