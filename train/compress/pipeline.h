#pragma once
#include <string>
#include <vector>

#include "core/log.h"
#include "models/causal_lm.h"
#include "train/compress/method.h"
#include "train/data/text.h"

namespace sinter {

// What happened to one linear.
struct LayerReport {
  std::string name;
  int block = 0;
  std::int64_t rows = 0, columns = 0;
  double error = 0, zeros = 0, bits_per_weight = 0, loss = 0, damp = 0;  // LayerResult
  int ladder = 0;
  double seconds = 0;  // of the solve
};

struct CompressPlan {
  std::unique_ptr<LayerMethod> method;
  Sparsity sparsity = Unpruned{};
  bool packed = true;  // keep quantised weights as codes; otherwise all results are dense
  bool true_sequential = false;  // stage by stage: o, gate and up, down see the compressed linears before them
  bool measure = true;  // with windows, report errors of the outputs, also for methods that need no Gram matrix
  std::string only, skip;  // regular expressions searched in linear names; empty: all, none
  Compute compute = Compute::f32;
  std::uint64_t seed = 0;
};

// Compresses the linears of all blocks, one block after the other, each on what the compressed blocks before it make of
// the calibration windows; not embeddings, norms, projections around the blocks, nor the head. Windows have one length;
// none are needed for a method that needs no statistics. One report per compressed linear, in the order of each_linear().
// When a linear fails, its block stays as it was. Error(usage) for a plan that contradicts itself or the model,
// Error(numeric) naming the linear, Error(interrupted) between linears.
std::vector<LayerReport> compress(CausalLM&, const Windows&, const CompressPlan&, LogSink&);

}  // namespace sinter
