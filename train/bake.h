#pragma once
#include <filesystem>
#include <string>

#include "core/json.h"
#include "models/causal_lm.h"
#include "models/tokenizer.h"

namespace sinter {

// A soft prompt as words of the vocabulary: row i becomes the token <sp_i>, so that programs which know no soft prompts
// can put it before a text. docs/prompts.md
struct BakedPrompt {
  std::int32_t first = 0;  // id of <sp_0>
  std::int64_t tokens = 0, vocab_before = 0, vocab = 0;
  bool own_head = false;  // the head was the embedding table and is a matrix of its own now
  bool widened = false;  // the prompt does not survive the type of the embedding, which is f32 now
  std::string start;  // the text of the token that stands between prompt and text, such as <s>; or empty
  std::string prefix;  // what goes before a text that is then encoded without the tokenizer's own first token
  double largest_shift = 0;  // of a log-probability, in nats, by the logits of the new rows: ln(1 + rows / words)
};

// Writes model and tokenizer of `model_dir` with the prompt [k, w] into the existing directory `dir`; the linears of the
// blocks stay as they are stored. Consumes the model. `config_changes` as for copy_model_files.
//   embedding  rows of the prompt, zeros up to a multiple of 64
//   head       the mean of all rows for each new token: its logit is the mean of all logits, never the largest. A head
//              that is the embedding table becomes a matrix of its own, or the prompt's rows would be logits too.
// Error(usage) when the prompt is longer than the model's positions, Error(input) when the tokenizer knows <sp_0> already.
BakedPrompt bake_prompt(CausalLM& model, const std::filesystem::path& model_dir, const Tensor& prompt,
                        const std::filesystem::path& dir, const Json& config_changes);

}  // namespace sinter
