#pragma once
#include <filesystem>
#include <string>

#include "train/adapt.h"
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
  AdapterPlan spp{.dropout = 0};
  double spp_lr = 0.02;
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

// The same with SPP (arXiv 2405.16057) in the prompt's place, and measured once more when it is part of the weights.
struct TunedRow {
  Setting setting;
  double nll = 0, nll_spp = 0;  // held out, nats per token
  double ppl = 0, ppl_spp = 0;
  double ppl_merged = 0;  // codes are rounded again, on grids of the same bits and groups
  double zeros = 0, zeros_merged = 0;  // shares of the weights
  double bits_per_weight = 0;  // before and after the merge
  double seconds = 0;
};
TunedRow tune(const Journey&, const Setting&, LogSink&);

// Held-out loss of a row's model with a prompt, perhaps another row's; an empty prompt: without.
Perplexity measure(const Journey&, const CausalLM&, const Tensor& prompt, LogSink&);

// Share of the loss that compression added and the prompt took away again.
double gap_closed(const JourneyRow&, double dense_nll);

}  // namespace sinter
