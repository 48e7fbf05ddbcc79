#include "models/opt.h"

#include "models/attention_layer.h"
#include "ops/activation.h"
#include "ops/elementwise.h"

namespace sinter {
namespace {

class OptBlock final : public Block {
 public:
  OptBlock(const ModelConfig& c, int layer, TensorSource& t, const std::string& at)
      : config_(c),
        layer_(layer),
        norm1_(make_norm(t, at + "self_attn_layer_norm", c.hidden, c.norm_eps, true)),
        norm2_(make_norm(t, at + "final_layer_norm", c.hidden, c.norm_eps, true)),
        q_(make_linear(t, at + "self_attn.q_proj", c.hidden, c.hidden, c.attention_bias)),
        k_(make_linear(t, at + "self_attn.k_proj", c.hidden, c.hidden, c.attention_bias)),
        v_(make_linear(t, at + "self_attn.v_proj", c.hidden, c.hidden, c.attention_bias)),
        o_(make_linear(t, at + "self_attn.out_proj", c.hidden, c.hidden, c.attention_bias)),
        fc1_(make_linear(t, at + "fc1", c.ffn, c.hidden, c.mlp_bias)),
        fc2_(make_linear(t, at + "fc2", c.hidden, c.ffn, c.mlp_bias)) {}

  // pre-norm:  h += attn(LN1(h)); h += ffn(LN2(h));   post-norm:  h = LN1(h + attn(h)); h = LN2(h + ffn(h))
  Var forward(const Pass& p, const Var& h) const override {
    const Context& ctx = p.ctx;
    if (config_.pre_norm) {
      const Var h1 = add(h, self_attention(p, norm1_.forward(ctx, h)));
      return add(h1, mlp(ctx, norm2_.forward(ctx, h1)));
    }
    const Var h1 = norm1_.forward(ctx, add(h, self_attention(p, h)));
    return norm2_.forward(ctx, add(h1, mlp(ctx, h1)));
  }
  std::vector<std::vector<Linear*>> stages() override { return {{&q_, &k_, &v_}, {&o_}, {&fc1_}, {&fc2_}}; }
  void each_weight(const EachWeight& f) override {
    norm1_.each_weight(f);
    norm2_.each_weight(f);
  }

 private:
  Var self_attention(const Pass& p, const Var& x) const {
    const Var q = q_.forward(p.ctx, x), k = k_.forward(p.ctx, x), v = v_.forward(p.ctx, x);
    return o_.forward(p.ctx, attend(p, layer_, config_, q, k, v));
  }
  Var mlp(const Context& ctx, const Var& x) const {
    return fc2_.forward(ctx, activate(fc1_.forward(ctx, x), config_.activation));
  }

  ModelConfig config_;
  int layer_;
  Norm norm1_, norm2_;
  Linear q_, k_, v_, o_, fc1_, fc2_;
};

}  // namespace

std::unique_ptr<CausalLM> make_opt(const ModelConfig& c, TensorSource& t) {
  // Old conversions saved the bare decoder: the same names without "model.".
  const std::string at = t.has("decoder.embed_tokens.weight") ? "decoder." : "model.decoder.";
  ModelEnds ends;
  ends.embedding_name = at + "embed_tokens";
  ends.embedding = t.matrix(ends.embedding_name, c.vocab, c.word_width);
  ends.positions_name = at + "embed_positions";
  ends.positions = t.vector(ends.positions_name + ".weight", {c.max_positions + 2, c.hidden});
  if (c.word_width != c.hidden) {
    ends.project_in.emplace(make_linear(t, at + "project_in", c.hidden, c.word_width, false));
    ends.project_out.emplace(make_linear(t, at + "project_out", c.word_width, c.hidden, false));
  }
  std::vector<std::unique_ptr<Block>> blocks;
  for (int i = 0; i < c.layers; ++i)
    blocks.push_back(std::make_unique<OptBlock>(c, i, t, at + "layers." + std::to_string(i) + "."));
  if (c.final_norm) ends.norm = make_norm(t, at + "final_layer_norm", c.hidden, c.norm_eps, true);
  if (!c.tied) {
    ends.head_name = "lm_head";
    ends.head = t.matrix(ends.head_name, c.vocab, c.word_width);
  }
  return std::make_unique<CausalLM>(c, std::move(ends), std::move(blocks));
}

}  // namespace sinter
