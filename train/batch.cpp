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

Batch batch_of(std::span<const Example* const> examples) {
  Batch b;
  for (const Example* e : examples) {
    b.layout.sequences.push_back({std::int64_t(b.ids.size()), std::int64_t(e->ids.size()), 0});
    b.ids.insert(b.ids.end(), e->ids.begin(), e->ids.end());
    b.targets.insert(b.targets.end(), e->targets.begin(), e->targets.end());
    b.sources.push_back(e->source);
  }
  return b;
}

std::vector<Example> examples_of(const Windows& windows) {
  std::vector<Example> examples;
  for (const auto& w : windows) {
    examples.push_back({w, {w.begin() + 1, w.end()}, std::int64_t(examples.size()) + 1});
    examples.back().targets.push_back(-1);
  }
  return examples;
}

double mean_nll(const CausalLM& model, std::span<const Example> examples, const Tensor& prompt, Compute compute) {
  double sum = 0;
  std::int64_t counted = 0;
  for (std::size_t i = 0; i < examples.size();) {
    std::vector<const Example*> pass;
    for (std::size_t rows = 0;
         i < examples.size() && (pass.empty() || rows + examples[i].ids.size() <= std::size_t(kRowsPerPass)); ++i) {
      pass.push_back(&examples[i]);
      rows += examples[i].ids.size() + std::size_t(prompt ? prompt.shape()[0] : 0);
    }
    const Batch batch = batch_of(pass);
    const Var loss = batch_loss(model, Context{.compute = compute}, batch, prompt ? Var(prompt) : Var());
    sum += double(loss.value().data<float>()[0]);
    counted += batch.counted();
  }
  return sum / double(counted);
}

BatchSampler::BatchSampler(std::vector<Example> examples, std::int64_t size, std::uint64_t seed)
    : examples_(std::move(examples)), size_(size), rng_{seed, 0x77696e64} {
  require(std::int64_t(examples_.size()) >= size_ && size_ > 0, ErrorCode::usage, "data", "holds ", examples_.size(),
          " sequences, a batch needs ", size_);
}

Batch BatchSampler::at(std::int64_t step) {
  const std::int64_t per_epoch = batches_per_epoch(), epoch = step / per_epoch;
  if (epoch != epoch_) {
    order_.resize(examples_.size());
    std::iota(order_.begin(), order_.end(), std::size_t(0));
    const Rng rng = rng_.fork(std::uint64_t(epoch));
    for (std::size_t i = order_.size() - 1; i > 0; --i) std::swap(order_[i], order_[rng.below(i, i + 1)]);
    epoch_ = epoch;
  }
  std::vector<const Example*> chosen;
  for (std::int64_t i = 0; i < size_; ++i)
    chosen.push_back(&examples_[order_[std::size_t((step % per_epoch) * size_ + i)]]);
  return batch_of(chosen);
}

}  // namespace sinter
