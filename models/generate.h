#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/causal_lm.h"
#include "models/sample.h"
#include "models/tokenizer.h"

namespace sinter {

struct GenerateOptions {
  std::int64_t max_new_tokens = 128;
  SampleOptions sample{};
  std::vector<std::string> stop{};  // ends before the first of these; it is not part of the text
  std::uint64_t seed = 0;
  Compute compute = Compute::f32;
};

struct Generated {
  std::vector<std::int32_t> ids;  // the new ones, without the end token
  std::string text;
  std::int64_t prefill_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};

// Continues `ids`, after a soft prompt [k, w] where one is given (else an empty Tensor). `on_text` sees valid UTF-8 as it
// becomes certain; its concatenation is Generated::text. Ends at an end token, a stop string, max_new_tokens or the
// model's last position.
Generated generate(const CausalLM&, const Tokenizer&, std::span<const std::int32_t> ids, const Tensor& soft_prompt,
                   const GenerateOptions&, const std::function<void(std::string_view)>& on_text = {});

}  // namespace sinter
