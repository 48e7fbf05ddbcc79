#pragma once
#include "core/json.h"
#include "models/interchange/hf_export.h"

namespace sinter {

// quantization_config for linears stored like that. `notes` gets what is out of the ordinary.
Json announce_gptq(const std::vector<GridFacts>&, int version, std::vector<std::string>& notes);
// `others` are linears that stay floats besides those: the head, projections.
Json announce_compressed_tensors(const std::vector<GridFacts>&, const std::vector<std::string>& others,
                                 std::vector<std::string>& notes);

}  // namespace sinter
