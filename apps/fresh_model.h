#pragma once
#include "core/json.h"

// The files of a model that was not loaded from anywhere.
namespace sinter {

// Fills in what readers of all ages look for: architecture, type, and rotary theta at its old and its new place.
void complete_config(Json& config, bool llama, bool bf16);

}  // namespace sinter
