#pragma once
#include "train/adapt.h"

namespace sinter {

// What is learned, as far as memory depends on it.
struct Learning {
  enum class What { prompt, adapters, full } what = What::prompt;
  AdapterPlan adapters{};
  Compute compute = Compute::f32;
};

// What a decoder block holds, in values per row of the batch. Counted from what each op of ops/ saves and makes; the rows
// of docs/memory.md are these.
struct BlockMemory {
  double kept = 0;  // by the tape, from the forward to the backward pass; the block's input is among it
  double forward = 0;  // at the widest moment of a forward pass that records, with `kept`
  double backward = 0;  // at the widest moment of the backward pass, with what is still kept then
  double alone = 0;  // at the widest moment of a forward pass without a tape, with the block's input
};

// adapted: the linears with an adapter. sequences: of a batch, each of `length` rows.
BlockMemory block_memory(Block&, const ModelConfig&, const Learning&, const std::vector<Linear*>& adapted,
                         std::int64_t sequences, std::int64_t length);

}  // namespace sinter
