#pragma once
#include <string>
#include <string_view>

#include "test/fuzz/mutate.h"

// What is attacked, and from where; used by libFuzzer, by the tests and by fuzz_mutations.
namespace sinter::fuzz {

// The reader of core/safetensors.h. What loads is read to its last byte and must be consistent.
Outcome load_safetensors(std::string_view input);
// parse_shard_index.
Outcome load_index(std::string_view input);
// parse_json, then writing and reading the value again, which must give the same.
Outcome load_json(std::string_view input);

Suite safetensors_suite();
Suite index_suite();
Suite json_suite();

// 218 bytes: b F32[2] = {1, -2}, a F16[] = 0.5, e F16[0, 3], as the reference implementation writes them.
std::string sample_safetensors();

}  // namespace sinter::fuzz
