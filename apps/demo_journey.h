#pragma once
#include "train/journey.h"

namespace sinter {

inline constexpr std::uint64_t kDemoTextSeed = 1;  // of the generated text

// What the demo compresses on, learns from, chooses by and measures on: generated worlds, the last from the held-out side.
// A window and its prompt together have the 256 positions that the models were trained on.
Journey demo_journey(const std::filesystem::path& model, const Tokenizer&, std::int64_t prompt_tokens);

const std::vector<Setting>& demo_llama_settings();
const std::vector<Setting>& demo_opt_settings();
const std::vector<Setting>& demo_spp_settings();  // of both models; the first of all lists is dense

}  // namespace sinter
