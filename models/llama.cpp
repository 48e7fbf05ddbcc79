#include "models/llama.h"

#include "models/attention_layer.h"
#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/rope.h"

namespace sinter {
namespace {

class LlamaBlock final : public Block {
 public:
  LlamaBlock(const ModelConfig& c, int layer, TensorSource& t, const std::string& at)
      : config_(c),
        layer_(layer),
        norm1_(make_norm(t, at + "input_layernorm", c.hidden, c.norm_eps, false)),
        norm2_(make_norm(t, at + "post_attention_layernorm", c.hidden, c.norm_eps, false)),
        q_(make_linear(t, at + "self_attn.q_proj", c.heads * c.head_dim, c.hidden, c.attention_bias)),
        k_(make_linear(t, at + "self_attn.k_proj", c.kv_heads * c.head_dim, c.hidden, c.attention_bias)),
        v_(make_linear(t, at + "self_attn.v_proj", c.kv_heads * c.head_dim, c.hidden, c.attention_bias)),
        o_(make_linear(t, at + "self_attn.o_proj", c.hidden, c.heads * c.head_dim, c.attention_bias)),
        gate_(make_linear(t, at + "mlp.gate_proj", c.ffn, c.hidden, c.mlp_bias)),
        up_(make_linear(t, at + "mlp.up_proj", c.ffn, c.hidden, c.mlp_bias)),
        down_(make_linear(t, at + "mlp.down_proj", c.hidden, c.ffn, c.mlp_bias)) {}

  // a = rms(h); h += W_o attn(rope(W_q a), rope(W_k a), W_v a);  b = rms(h); h += W_d (silu(W_g b) ⊙ W_u b)
  Var forward(const Pass& p, const Var& h) const override {
    const Context& ctx = p.ctx;
    const Var a = norm1_.forward(ctx, h);
    const Var q = rope(q_.forward(ctx, a), p.rope, config_.heads);
    const Var k = rope(k_.forward(ctx, a), p.rope, config_.kv_heads);
    const Var o = o_.forward(ctx, attend(p, layer_, config_, q, k, v_.forward(ctx, a)));
    const auto [h1, b] = add_rms_norm(h, o, ctx.use(norm2_.weight), norm2_.eps);
    const Var gate = gate_.forward(ctx, b);
    return add(h1, down_.forward(ctx, swiglu(gate, up_.forward(ctx, b))));
  }
  std::vector<std::vector<Linear*>> stages() override { return {{&q_, &k_, &v_}, {&o_}, {&gate_, &up_}, {&down_}}; }
  void each_weight(const EachWeight& f) override {
    norm1_.each_weight(f);
    norm2_.each_weight(f);
  }

 private:
  ModelConfig config_;
  int layer_;
  Norm norm1_, norm2_;
  Linear q_, k_, v_, o_, gate_, up_, down_;
};

}  // namespace

std::unique_ptr<CausalLM> make_llama(const ModelConfig& c, TensorSource& t) {
  ModelEnds ends;
  ends.embedding_name = "model.embed_tokens";
  ends.embedding = t.matrix(ends.embedding_name, c.vocab, c.hidden);
  std::vector<std::unique_ptr<Block>> blocks;
  for (int i = 0; i < c.layers; ++i)
    blocks.push_back(std::make_unique<LlamaBlock>(c, i, t, "model.layers." + std::to_string(i) + "."));
  ends.norm = make_norm(t, "model.norm", c.hidden, c.norm_eps, false);
  if (!c.tied) {
    ends.head_name = "lm_head";
    ends.head = t.matrix(ends.head_name, c.vocab, c.hidden);
  }
  return std::make_unique<CausalLM>(c, std::move(ends), std::move(blocks));
}

}  // namespace sinter
