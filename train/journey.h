#pragma once
#include <filesystem>
#include <string>

#include "train/compress/pipeline.h"
#include "train/eval/perplexity.h"
#include "train/prompt.h"

namespace sinter {

// A way to compress: a method with its options and a sparsity. An empty method leaves the model dense.
struct Setting {
  std::string name, method;
  MethodOptions options{};
  Sparsity sparsity = Unpruned{};
};

// What a journey shares: one dense model, text to calibrate on, to learn from, to choose the best prompt by, and to
// measure on. The last is seen by nothing but the measurements.
struct Journey {
  std::filesystem::path model;
  Windows calibration, learning, validation;
  std::vector<std::int32_t> held_out;
  std::vector<std::int32_t> start;  // prompts begin as the embeddings of these ids: real text does no harm at first
  std::int64_t seq_len = 256, steps = 100, batch = 4;
  double lr = 0.02;
  std::uint64_t seed = 0;
};

struct JourneyRow {
  Setting setting;
  std::unique_ptr<CausalLM> model;  // compressed
  Tensor prompt;  // [k, w]
  double nll = 0, nll_prompt = 0;  // held out, nats per token
  double ppl = 0, ppl_prompt = 0, ppl_prompt_paper = 0;
  double bits_per_weight = 0;  // of the linears of the blocks
  double seconds = 0;
};

// Compress, measure, learn a prompt on the frozen result, measure again ("Compress, then prompt", arXiv 2305.11186).
JourneyRow travel(const Journey&, const Setting&, LogSink&);

// Held-out loss of a row's model with a prompt, perhaps another row's; an empty prompt: without.
Perplexity measure(const Journey&, const CausalLM&, const Tensor& prompt, LogSink&);

// Share of the loss that compression added and the prompt took away again.
double gap_closed(const JourneyRow&, double dense_nll);

}  // namespace sinter
