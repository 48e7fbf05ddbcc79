#include "train/batch.h"

#include <algorithm>
#include <numeric>

#include "ops/concat.h"

namespace sinter {

std::int64_t Batch::counted() const {
  return std::ranges::count_if(targets, [](auto t) { return t >= 0; });
}

Batch window_batch(std::span<const std::int32_t> ids, std::int64_t length) {
  Batch b{
      {ids.begin(), ids.end()}, {ids.begin() + 1, ids.end()}, Layout::equal(std::int64_t(ids.size()) / length, length)};
  b.targets.push_back(-1);
  for (std::size_t i = std::size_t(length); i < ids.size(); i += std::size_t(length)) b.targets[i - 1] = -1;
  return b;
}

Prompted run_batch(const CausalLM& model, const Context& ctx, const Batch& batch, const Var& prompt) {
  const Var e = model.embed(ctx, batch.ids);
  if (!prompt.value())
    return {model.run(ctx, model.enter(ctx, e, batch.layout), model.all(), batch.layout), batch.targets};
  const std::int64_t k = prompt.shape()[0];
  std::vector<Var> parts;
  Prompted out;
  Layout layout;
  for (const auto& s : batch.layout.sequences) {
    parts.push_back(prompt);
    parts.push_back(slice_rows(e, s.row, s.row + s.length));
    layout.sequences.push_back({layout.rows(), k + s.length, s.position});
    out.targets.insert(out.targets.end(), std::size_t(k), -1);
    out.targets.insert(out.targets.end(), batch.targets.begin() + s.row, batch.targets.begin() + s.row + s.length);
  }
  out.hidden = model.run(ctx, model.enter(ctx, concat_rows(parts), layout), model.all(), layout);
  return out;
}

Var batch_loss(const CausalLM& model, const Context& ctx, const Batch& batch, const Var& prompt) {
  const Prompted p = run_batch(model, ctx, batch, prompt);
  return model.loss(ctx, p.hidden, p.targets);
}

Tensor batch_nll(const CausalLM& model, const Context& ctx, const Batch& batch, const Tensor& prompt) {
  const Prompted p = run_batch(model, ctx, batch, Var(prompt));
  Tensor all = model.nll(ctx, p.hidden, p.targets);
  if (!prompt) return all;
  Tensor text = Tensor::empty({std::int64_t(batch.ids.size())}, all.dtype());
  auto to = text.mutable_data<float>().begin();
  const std::int64_t k = prompt.shape()[0];
  std::int64_t row = 0;
  for (const auto& s : batch.layout.sequences) {
    to = std::ranges::copy(all.rows(row + k, row + k + s.length).data<float>(), to).out;
    row += k + s.length;
  }
  return text;
}

WindowSampler::WindowSampler(Windows windows, std::int64_t size, std::uint64_t seed)
    : windows_(std::move(windows)), size_(size), rng_{seed, 0x77696e64} {
  require(std::int64_t(windows_.size()) >= size_ && size_ > 0, ErrorCode::usage, "data", "holds ", windows_.size(),
          " windows, a batch needs ", size_);
}

Batch WindowSampler::at(std::int64_t step) {
  const std::int64_t per_epoch = batches_per_epoch(), epoch = step / per_epoch;
  if (epoch != epoch_) {
    order_.resize(windows_.size());
    std::iota(order_.begin(), order_.end(), std::size_t(0));
    const Rng rng = rng_.fork(std::uint64_t(epoch));
    for (std::size_t i = order_.size() - 1; i > 0; --i) std::swap(order_[i], order_[rng.below(i, i + 1)]);
    epoch_ = epoch;
  }
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < size_; ++i) {
    const auto& w = windows_[order_[std::size_t((step % per_epoch) * size_ + i)]];
    ids.insert(ids.end(), w.begin(), w.end());
  }
  return window_batch(ids, std::int64_t(windows_[0].size()));
}

}  // namespace sinter
