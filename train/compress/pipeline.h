#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "core/log.h"
#include "models/causal_lm.h"
#include "train/compress/method.h"
#include "train/compress/run_state.h"
#include "train/data/text.h"

namespace sinter {

struct CompressPlan {
  std::unique_ptr<LayerMethod> method;
  Sparsity sparsity = Unpruned{};
  bool packed = true;  // keep results in the smallest exact format; otherwise all are dense
  bool true_sequential = false;  // stage by stage: o, gate and up, down see the compressed linears before them
  bool measure = true;  // with windows, report errors of the outputs, also for methods that need no Gram matrix
  std::string only, skip;  // regular expressions searched in linear names; empty: all, none
  Compute compute = Compute::f32;
  std::uint64_t seed = 0;
  // What changes memory and time, and no bit of the result:
  bool one_stage = false;  // statistics of one stage at a time: fewer Gram matrices at once, more forward passes
  std::filesystem::path scratch;  // a directory for the hidden states; empty: they stay in memory
};

// Gram matrices from 1 GiB on become the factor in place (LayerProblem::spend): what is reported depends on shapes
// only.
inline bool spends_gram(std::int64_t columns) { return columns >= 16384; }

// The linears that `only` and `skip` select; Error(usage) for a broken expression, for none, or where the sparsity does
// not fit one of them.
std::vector<Linear*> selected_linears(CausalLM&, const CompressPlan&);

// Compresses the linears of all blocks, one block after the other, each on what the compressed blocks before it make
// of the calibration windows, up to the last selected one; not embeddings, norms, projections around the blocks, nor
// the head. Windows have one length; none are needed for a method that needs no statistics. One report per compressed
// linear, in the order of each_linear(). When a linear fails, its block stays as it was. Error(usage) for a plan that
// contradicts itself or the model, Error(numeric) naming the linear, Error(interrupted) between linears and batches.
//
// With a state, finished blocks go to its files and are mapped from there, and an earlier run is taken up; its pages
// and those of the source are given back, so that memory does not grow with the number of blocks.
std::vector<LayerReport> compress(CausalLM&, const Windows&, const CompressPlan&, LogSink&, RunState* = nullptr);

}  // namespace sinter
