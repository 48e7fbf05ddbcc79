#pragma once
#include <filesystem>
#include <functional>
#include <vector>

#include "models/causal_lm.h"
#include "train/data/text.h"

namespace sinter {

// The hidden states [T, d] of all calibration windows where a block begins, several windows to a batch, f32. They are
// in memory, or in two scratch files that take turns: what enters the block, and what leaves it.
class HiddenBank {
 public:
  static void check(const CausalLM&,
                    const Windows&);  // windows of one length; Error(usage) names what is wrong with them
  // Borrows the windows. `scratch`: what the names of the two files begin with; empty: in memory.
  HiddenBank(const CausalLM&, const Windows&, std::filesystem::path scratch = {});
  ~HiddenBank();  // removes the files, unless they are kept
  HiddenBank(const HiddenBank&) = delete;
  HiddenBank& operator=(const HiddenBank&) = delete;
  void keep(bool yes) { kept_ = yes; }

  std::int64_t sequences() const { return std::int64_t(windows_.size()); }
  std::int64_t length() const { return std::int64_t(windows_[0].size()); }
  std::int64_t tokens() const { return sequences() * length(); }
  std::int64_t batches() const;
  static std::int64_t batch_sequences(std::int64_t length);  // windows that run together

  using Between = std::function<void()>;  // called after each batch; what it throws ends the pass
  int block() const { return block_; }  // the states are those that enter it
  void enter(const CausalLM&, const Context&, const Between&);  // block 0, from the windows
  bool reopen(int block);  // goes on with the file that an earlier run left for this block, if it is there
  void observe(const CausalLM&, const Context&, const Between&) const;  // runs the block, keeps nothing
  // The block's outputs become the bank. Batches that are not finite in bf16 are computed again in f32; returns how
  // many. Files are synced: what reopen() finds survives a power cut.
  std::int64_t advance(const CausalLM&, const Context&, const Between&);

 private:
  class File;
  std::int64_t count_at(std::int64_t batch) const;  // windows of the batch
  std::filesystem::path file_of(int block) const;
  Tensor batch(std::int64_t i) const;
  void put(std::int64_t i, Tensor states, File* to);
  Var run(const CausalLM&, const Context&, const Tensor& states) const;

  const Windows& windows_;
  std::int64_t width_;
  std::filesystem::path scratch_;
  bool kept_ = false;
  int block_ = 0;
  std::vector<Tensor> held_;  // in memory
};

}  // namespace sinter
