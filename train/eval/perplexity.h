#pragma once
#include <vector>

#include "core/log.h"
#include "models/causal_lm.h"

namespace sinter {

struct PerplexityOptions {
  std::int64_t seq_len = 2048;
  std::int64_t max_chunks = 0;  // 0: all
  Tensor soft_prompt{};  // [k, w], before every chunk
  Compute compute = Compute::f32;
  std::int32_t first = -1;  // 0 or more: this id takes the place of every chunk's first token
  std::int64_t context = 0;  // tokens 1 .. context of a chunk are not scored either
};

// ln ppl = mean over chunks of the mean over t = 1 .. T−1 of −log p(x_t | x_<t): disjoint chunks of T tokens, positions
// from 0, no context from other chunks (GPTQ's protocol). llama.cpp's is the same with `first` the id of <s> and
// `context` T / 2.
struct Perplexity {
  double nll = 0, ppl = 0;
  // As "Compress, then prompt" divides (arXiv 2305.11186, released code): by T − 1 + k positions instead of the T − 1
  // that are scored. Equal to ppl without a prompt.
  double ppl_paper = 0;
  std::int64_t scored_tokens = 0, chunks = 0, seq_len = 0;
  double seconds = 0;
  std::vector<float> token_nll;  // of each scored token, in order
};

// Error(usage) when there are fewer tokens than one chunk, or chunk and prompt exceed the model's positions.
Perplexity perplexity(const CausalLM&, std::span<const std::int32_t> ids, const PerplexityOptions&, LogSink&);

}  // namespace sinter
