#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "train/data/text.h"
#include "train/eval/perplexity.h"

namespace sinter {

// Soft prompts before models that they were not learned for ("Compress, then prompt", arXiv 2305.11186, figures 4 and
// 5): the perplexity of each text under each model with each prompt, and with none.
struct NamedPath {
  std::string name;
  std::filesystem::path path;
};
struct TransferRequest {
  std::vector<NamedPath> models, prompts, texts;
  TextOptions reading{};
  std::int64_t seq_len = 0;  // 0: 1024, or what every model's positions leave beside the longest prompt
  std::int64_t max_chunks = 0;  // 0: all
  Compute compute = Compute::f32;
};

struct TransferCell {
  std::size_t model, prompt, text;
  std::string fingerprint;  // of all that its figures depend on
  std::optional<Perplexity> found;  // without token_nll; nothing while it is not measured
};

// The matrix before and after it is measured. Prompt 0 is "none".
struct TransferMatrix {
  struct Prompt {
    std::string name;
    Tensor rows;  // [k, w]; empty for "none"
    std::int64_t tokens() const { return rows ? rows.shape()[0] : 0; }
  };
  struct Text {
    std::string name;
    std::vector<std::int32_t> ids;
  };
  std::vector<NamedPath> models;
  std::vector<Prompt> prompts;
  std::vector<Text> texts;
  std::int64_t seq_len = 0, max_chunks = 0;
  Compute compute = Compute::f32;
  std::vector<TransferCell> cells;  // by model, then text, then prompt

  std::size_t measured() const;
  const TransferCell& at(std::size_t model, std::size_t prompt, std::size_t text) const {
    return cells[(model * texts.size() + text) * prompts.size() + prompt];
  }
};

// Reads all but the weights and checks that everything fits. Error(usage) for names that occur twice and lengths beyond a
// model's positions; Error(input) naming what does not fit: models of different word widths or tokenizers, a prompt of
// another width or tokenizer, a text shorter than one chunk.
TransferMatrix plan_transfer(const TransferRequest&);

// Takes over the figures of cells that an earlier run of the same settings, models, prompts and texts has measured: what
// transfer_json gave then. Error(input) names `where` for a file that is no such thing.
void take_over(TransferMatrix&, const Json& earlier, const std::string& where);

// Measures what is missing, one model in memory at a time; `after_cell` may save transfer_json.
void measure_transfer(TransferMatrix&, const std::function<void()>& after_cell, LogSink&);

// The settings and every measured cell with nll, ppl, ppl_paper and scored tokens. docs/prompts.md
Json transfer_json(const TransferMatrix&);

}  // namespace sinter
