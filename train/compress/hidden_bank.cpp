#include "train/compress/hidden_bank.h"

#include <algorithm>

namespace sinter {
namespace {

constexpr std::int64_t kBatchRows = 2048;  // short windows run together

void check_windows(const CausalLM& model, const Windows& windows) {
  require(!windows.empty() && !windows[0].empty(), ErrorCode::usage, "calibration", "there are no windows");
  for (const auto& w : windows)
    require(w.size() == windows[0].size(), ErrorCode::usage, "calibration", "windows of ", windows[0].size(),
            " and of ", w.size(), " tokens");
  require(std::int64_t(windows[0].size()) <= model.config().max_positions, ErrorCode::usage, "calibration",
          "windows of ", windows[0].size(), " tokens for a model of ", model.config().max_positions, " positions");
}

}  // namespace

HiddenBank::HiddenBank(const CausalLM& model, const Windows& windows, const Context& ctx) {
  check_windows(model, windows);
  sequences_ = std::int64_t(windows.size());
  length_ = std::int64_t(windows[0].size());
  const std::int64_t at_once = std::max<std::int64_t>(1, kBatchRows / length_);
  for (std::int64_t i = 0; i < sequences_; i += at_once) {
    const std::int64_t count = std::min(at_once, sequences_ - i);
    std::vector<std::int32_t> ids;
    for (std::int64_t k = i; k < i + count; ++k)
      ids.insert(ids.end(), windows[std::size_t(k)].begin(), windows[std::size_t(k)].end());
    batches_.push_back(model.enter(ctx, model.embed(ctx, ids), Layout::equal(count, length_)).value());
  }
}

Var HiddenBank::run(const CausalLM& model, int block, const Context& ctx, const Tensor& batch) const {
  return model.run(ctx, batch, {block, block + 1}, Layout::equal(batch.shape()[0] / length_, length_));
}

void HiddenBank::observe(const CausalLM& model, int block, const Context& ctx) const {
  for (const Tensor& b : batches_) (void)run(model, block, ctx, b);
}

void HiddenBank::advance(const CausalLM& model, int block, const Context& ctx) {
  for (Tensor& b : batches_) b = run(model, block, ctx, b).value();
}

}  // namespace sinter
