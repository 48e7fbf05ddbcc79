// fuzz_mutations N [FIRST]: N mutations of every sample. Prints what happened, and fails on a crash, an exception of
// the wrong kind, or an allocation out of proportion to the input.
#include <cstdio>
#include <cstdlib>
#include <new>

#include "test/fuzz/targets.h"

namespace {

// Inputs are below 2 KB; a parser may ask for their size a few times over, but not for more than this.
constexpr std::size_t kLargest = std::size_t{1} << 16;

}  // namespace

void* operator new(std::size_t bytes) {
  if (bytes > kLargest) {
    std::fprintf(stderr, "allocation of %zu bytes for a small input\n", bytes);
    std::abort();
  }
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

int main(int argc, char** argv) {
  const std::uint64_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100000;
  const std::uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  try {
    for (const auto& suite :
         {sinter::fuzz::safetensors_suite(), sinter::fuzz::index_suite(), sinter::fuzz::json_suite()}) {
      const auto tally = sinter::fuzz::run_mutations(suite, first, count);
      std::printf("%-12s %llu mutations: %llu loaded, %llu refused\n", suite.name.c_str(),
                  static_cast<unsigned long long>(count), static_cast<unsigned long long>(tally.loaded),
                  static_cast<unsigned long long>(tally.refused));
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
