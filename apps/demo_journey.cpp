#include "apps/demo_journey.h"

#include "train/data/worlds.h"

namespace sinter {

const std::vector<Setting>& demo_llama_settings() {
  static const std::vector<Setting> s{{"dense", ""},
                                      {"SparseGPT 50 %", "sparsegpt", {}, Fraction{0.5}},
                                      {"SparseGPT 62.5 %", "sparsegpt", {}, Fraction{0.625}},
                                      {"SparseGPT 75 %", "sparsegpt", {}, Fraction{0.75}},
                                      {"SparseGPT 2:4", "sparsegpt", {}, KeepOf{2, 4}},
                                      {"GPTQ 4 bits", "gptq", {{"bits", "4"}}},
                                      {"GPTQ 3 bits", "gptq", {{"bits", "3"}}},
                                      {"GPTQ 2 bits", "gptq", {{"bits", "2"}}},
                                      {"SparseGPT 50 % + 4 bits", "sparsegpt", {{"bits", "4"}}, Fraction{0.5}}};
  return s;
}
const std::vector<Setting>& demo_opt_settings() {
  static const std::vector<Setting> s{{"dense", ""},
                                      {"SparseGPT 62.5 %", "sparsegpt", {}, Fraction{0.625}},
                                      {"SparseGPT 75 %", "sparsegpt", {}, Fraction{0.75}},
                                      {"GPTQ 3 bits", "gptq", {{"bits", "3"}}}};
  return s;
}
const std::vector<Setting>& demo_spp_settings() {
  static const std::vector<Setting> s{{"dense", ""},
                                      {"SparseGPT 75 %", "sparsegpt", {}, Fraction{0.75}},
                                      {"SparseGPT 2:4", "sparsegpt", {}, KeepOf{2, 4}},
                                      {"SparseGPT 2:4 + 4 bits", "sparsegpt", {{"bits", "4"}}, KeepOf{2, 4}}};
  return s;
}

Journey demo_journey(const std::filesystem::path& model, const Tokenizer& tokenizer, std::int64_t prompt_tokens) {
  Journey j;
  j.model = model;
  j.seq_len = 256 - prompt_tokens;
  const auto start = tokenizer.encode(make_worlds(kDemoTextSeed, 99, 1)[0], false);
  require(prompt_tokens >= 1 && prompt_tokens <= std::int64_t(start.size()), ErrorCode::usage, "demo",
          "a prompt has 1 to ", start.size(), " tokens");
  j.start.assign(start.end() - prompt_tokens, start.end());  // prompts begin as the end of a story
  const auto windows = [&](std::uint64_t first, std::size_t count) {
    return document_windows(make_worlds(kDemoTextSeed, first, count), tokenizer, j.seq_len);
  };
  j.calibration = windows(0, 100);
  j.learning = windows(100, 1500);
  j.validation = windows(1700, 24);
  for (const auto& w : windows(kHeldOutWorlds, 120)) j.held_out.insert(j.held_out.end(), w.begin(), w.end());
  j.steps = 120;
  j.lr = 0.03;
  return j;
}

}  // namespace sinter
