#pragma once
#include "train/batch.h"

namespace sinter {

struct InstructionOptions {
  std::int64_t cutoff = 512;  // tokens that are kept of one example
  bool train_on_inputs = true;  // else only the answer is in the loss
};

struct Instructions {
  std::vector<Example> examples;
  std::int64_t cut = 0;  // of them longer than the cutoff: their end, with the end token, is missing
  std::int64_t empty = 0;  // of them with an empty answer, so that only the end token is learned
  std::int64_t unanswered = 0;  // records left out: nothing of their answer is within the cutoff
};

// Examples from a .json array, a .jsonl or a .json.gz of records, each of one form:
//   {"instruction", "input" (may be empty or absent), "output"}   in Stanford Alpaca's template, with or without input
//   {"prompt", "completion"}                                      one after the other
// encoded with the tokenizer's own start, the end token last where it fits. No example is padded: Layout holds sequences of
// any length. Error(input) names the file and the line or record that is empty or malformed.
Instructions read_instructions(const std::filesystem::path&, const Tokenizer&, std::int64_t vocab,
                               const InstructionOptions&);

// Whether the file's first record is of one of these forms; otherwise it is text. Error(input) for a .json of other records.
bool holds_instructions(const std::filesystem::path&);

}  // namespace sinter
