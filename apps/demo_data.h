#pragma once
#include <filesystem>
#include <string>

namespace sinter {

// The demo's models are part of the program. Writes one of them ("llama" or "opt") as a Hugging Face directory below
// `out` and returns its path.
std::filesystem::path unpack_demo_model(const std::string& name, const std::filesystem::path& out);

}  // namespace sinter
