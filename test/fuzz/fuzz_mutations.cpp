// fuzz_mutations N [FIRST [NAME...]]: N mutations of every sample, or of the suites named. Prints what happened, and
// fails on a crash, an exception of the wrong kind, or an allocation out of proportion to the input.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "test/fuzz/interchange_targets.h"
#include "test/fuzz/model_targets.h"
#include "test/fuzz/targets.h"

namespace {

std::size_t largest = SIZE_MAX;  // of the suite that runs

void* obtain(std::size_t bytes) noexcept {
  if (bytes > largest) {
    std::fprintf(stderr, "allocation of %zu bytes for a small input\n", bytes);
    std::abort();
  }
  return std::malloc(bytes ? bytes : 1);
}

}  // namespace

void* operator new(std::size_t bytes) {
  if (void* p = obtain(bytes)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return obtain(bytes); }  // std::stable_sort
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

int main(int argc, char** argv) {
  using namespace sinter::fuzz;
  const std::uint64_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100000;
  const std::uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  const std::vector<std::string> only(argv + std::min(argc, 3), argv + argc);
  try {
    for (const auto& suite : {safetensors_suite(), index_suite(), json_suite(), config_suite(), sentencepiece_suite(),
                              tokenizer_json_suite(), packed_suite(), weight_suite(), vocabulary_suite(), zip_suite(),
                              pickle_suite(), foreign_suite(), gguf_suite()}) {
      if (!only.empty() && std::ranges::find(only, suite.name) == only.end()) continue;
      largest = suite.largest;
      const auto tally = run_mutations(suite, first, count);
      largest = SIZE_MAX;
      std::printf("%-15s %llu mutations: %llu loaded, %llu refused\n", suite.name.c_str(),
                  static_cast<unsigned long long>(count), static_cast<unsigned long long>(tally.loaded),
                  static_cast<unsigned long long>(tally.refused));
      std::fflush(stdout);
      if (count >= 1000 && (tally.loaded == 0 || tally.refused == 0)) {
        std::fprintf(stderr, "%s: only one outcome, so this attacks nothing\n", suite.name.c_str());
        return 1;
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
