#include <cstddef>
#include <cstdint>

#include "test/fuzz/model_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sinter::fuzz::load_tokenizer_json({reinterpret_cast<const char*>(data), size});
  return 0;
}
