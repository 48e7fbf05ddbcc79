#include "models/causal_lm.h"

#include "ops/concat.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/frozen_linear.h"
#include "ops/linear.h"

namespace sinter {
namespace {

constexpr std::int64_t kOptPositionOffset = 2;  // OPT's table starts two rows late

EachWeight params_of(const EachParam& f) {
  return [&f](const std::string&, Weight& w) {
    if (auto* p = std::get_if<std::unique_ptr<Param>>(&w)) f(**p);
  };
}

}  // namespace

CausalLM::CausalLM(ModelConfig c, ModelEnds ends, std::vector<std::unique_ptr<Block>> blocks)
    : config_(std::move(c)), ends_(std::move(ends)), blocks_(std::move(blocks)) {
  if (config_.family == Family::llama) inv_freq_ = rope_frequencies(config_);
}

Var CausalLM::embed(const Context& ctx, std::span<const std::int32_t> ids) const {
  for (const auto i : ids)
    require(0 <= i && i < config_.vocab, ErrorCode::usage, "tokens", "id ", i, " is outside the vocabulary of ",
            config_.vocab);
  return std::visit(Match{[&](const std::unique_ptr<Param>& p) { return embedding(ctx.use(*p), ids); },
                          [&](const FrozenWeightPtr& w) { return Var(w->gather(ids)); }},
                    ends_.embedding);
}

Var CausalLM::enter(const Context& ctx, const Var& e, const Layout& layout) const {
  Var h = ends_.project_in ? ends_.project_in->forward(ctx, e) : e;
  if (!ends_.positions) return h;
  std::vector<std::int32_t> rows = layout.positions();
  for (auto& r : rows) r += kOptPositionOffset;
  const Var table = ctx.use(*ends_.positions);
  for (const auto r : rows)
    require(r < table.shape()[0], ErrorCode::usage, "positions", "position ", r - kOptPositionOffset,
            " is beyond the model's ", config_.max_positions);
  return add(h, embedding(table, rows));
}

Var CausalLM::run(const Context& ctx, Var h, LayerRange range, const Layout& layout, KvCache* cache) const {
  for (const auto& s : layout.sequences)
    require(s.row >= 0 && s.length > 0 && s.row + s.length <= h.shape()[0], ErrorCode::shape, "run",
            "a sequence ends at row ", s.row + s.length, " of ", h.shape());
  require(!cache || (!ctx.tape && layout.sequences.size() == 1), ErrorCode::usage, "run",
          "a cache serves one sequence, without a tape");
  auto pass = std::make_shared<Pass>(Pass{ctx, layout, {}, cache});
  if (!inv_freq_.empty()) pass->rope = make_rope_table(inv_freq_, layout.positions());
  for (int i = range.first; i < range.last; ++i) {
    const Block* block = blocks_.at(std::size_t(i)).get();
    if (!ctx.checkpoint || !ctx.tape) {
      h = block->forward(*pass, h);
      continue;
    }
    const Segment segment = [block, pass](Tape* tape, std::span<const Var> in) {
      Pass again = *pass;
      again.ctx.tape = tape;
      return block->forward(again, in[0]);
    };
    h = checkpoint(ctx.tape, segment, std::span(&h, 1));
  }
  if (cache) cache->advance(layout.rows());
  return h;
}

Var CausalLM::finish(const Context& ctx, const Var& h) const {
  const Var y = ends_.norm ? ends_.norm->forward(ctx, h) : h;
  return ends_.project_out ? ends_.project_out->forward(ctx, y) : y;
}

void CausalLM::replace_words(FrozenWeightPtr embedding, FrozenWeightPtr head) {
  require(embedding->in_features() == config_.word_width && head->in_features() == config_.word_width &&
              embedding->out_features() == head->out_features(),
          ErrorCode::shape, "replace words", "embedding and head need one row of width ", config_.word_width,
          " per word, got [", embedding->out_features(), ", ", embedding->in_features(), "] and [",
          head->out_features(), ", ", head->in_features(), "]");
  config_.vocab = embedding->out_features();
  config_.tied = false;
  if (ends_.head_name.empty()) ends_.head_name = "lm_head";
  ends_.embedding = std::move(embedding);
  ends_.head = std::move(head);
}

HeadWeight CausalLM::head_weight(const Context& ctx) const {
  return std::visit(Match{[&](const std::unique_ptr<Param>& p) { return HeadWeight(ctx.use(*p)); },
                          [](const FrozenWeightPtr& w) { return HeadWeight(w); }},
                    ends_.head ? *ends_.head : ends_.embedding);
}

Var CausalLM::logits(const Context& ctx, const Var& h) const {
  const Var x = finish(ctx, h);
  return std::visit(Match{[&](const Var& w) { return linear(x, w, ctx.compute); },
                          [&](const FrozenWeightPtr& w) { return frozen_linear(x, w, {}, ctx.compute); }},
                    head_weight(ctx));
}

Var CausalLM::loss(const Context& ctx, const Var& h, std::span<const std::int32_t> targets) const {
  return cross_entropy(finish(ctx, h), head_weight(ctx), targets, ctx.compute);
}

Tensor CausalLM::nll(const Context& ctx, const Var& h, std::span<const std::int32_t> targets) const {
  return token_nll(finish(ctx, h).value(), head_weight(ctx), targets, ctx.compute);
}

KvCache CausalLM::make_cache(std::int64_t capacity) const {
  return {int(blocks_.size()), capacity, config_.kv_heads * config_.head_dim};
}

void CausalLM::each_linear(const std::function<void(Linear&)>& f) {
  for (auto& b : blocks_)
    for (const auto& stage : b->stages())
      for (Linear* l : stage) f(*l);
}

void CausalLM::each_weight(const EachWeight& f) {
  if (ends_.positions) f(ends_.positions_name + ".weight", *ends_.positions);
  for (auto& b : blocks_) b->each_weight(f);
  if (ends_.norm) ends_.norm->each_weight(f);
}

void CausalLM::each_matrix(const std::function<void(const std::string&, Matrix&)>& f) {
  f(ends_.embedding_name + ".weight", ends_.embedding);
  if (ends_.head) f(ends_.head_name + ".weight", *ends_.head);
}

void CausalLM::each_projection(const std::function<void(Linear&)>& f) {
  if (ends_.project_in) f(*ends_.project_in);
  if (ends_.project_out) f(*ends_.project_out);
}

void CausalLM::each_param(const EachParam& f) {
  each_matrix([&](const std::string&, Matrix& m) {
    if (auto* p = std::get_if<std::unique_ptr<Param>>(&m)) f(**p);
  });
  each_projection([&](Linear& l) { l.each_param(f); });
  each_weight(params_of(f));
  each_linear([&](Linear& l) { l.each_param(f); });
}

void thaw(CausalLM& model) {
  model.each_matrix([](const std::string& name, Matrix& m) { thaw(m, name); });
  model.each_projection([](Linear& l) { l.thaw(); });
  model.each_weight([](const std::string& name, Weight& w) { thaw(w, name); });
  model.each_linear([](Linear& l) { l.thaw(); });
}

}  // namespace sinter
