// libFuzzer's entry for one target, SINTER_FUZZ_TARGET.
#include <cstddef>
#include <cstdint>

#include "test/fuzz/interchange_targets.h"
#include "test/fuzz/model_targets.h"
#include "test/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sinter::fuzz::SINTER_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
