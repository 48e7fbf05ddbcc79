#include "train/block_memory.h"

#include <algorithm>

namespace sinter {
namespace {

// A linear [m, n], in values per row.
struct LinearMemory {
  double m = 0, n = 0;
  double kept = 0;  // beside its input
  bool input = false;  // its input x [n] is kept
  double forward = 0;  // at its widest beside x and what it keeps, its output y [m] included
  double backward = 0;  // at its widest beside dy [m] and what it keeps
  double alone = 0;  // forward without a tape
};

LinearMemory memory_of(const Linear& l, const Learning& learning, bool adapted) {
  const double m = double(l.out_features()), n = double(l.in_features()), r = double(learning.adapters.rank);
  const bool rounds = learning.compute == Compute::bf16, drops = learning.adapters.dropout > 0;
  LinearMemory c{.m = m, .n = n, .forward = m, .backward = n, .alone = m};
  if (learning.what == Learning::What::full) c.input = true;
  if (adapted && learning.adapters.kind == AdapterPlan::Kind::lora) {
    // y = x Wᵀ + s·(drop(x) Aᵀ) Bᵀ keeps drop(x), or x, and drop(x) Aᵀ; three [m] until they are one
    c.kept = (drops ? n : 0) + r;
    c.input = !drops;
    c.forward = c.alone = 3 * m + r;
    c.backward = 2 * n + r;
  } else if (adapted && drops) {
    // y = x Wᵀ + s·Z ∘ β keeps drop(x) and Z; backward makes dZ [m], P_j and dx [n]
    c.kept = n + m;
    c.forward = std::max(2 * m + n, 3 * m);
    c.backward = m + 2 * n;
  } else if (adapted) {
    c.input = true;  // one product with a scaled strip of W
  }
  if (rounds) {  // a copy of each product's factor
    c.forward += n;
    c.alone += n;
    c.backward += m;
  }
  return c;
}

// Heads are packed in multiples of 16 columns.
double padded_share(std::int64_t head_dim) {
  const std::int64_t packed = (head_dim + 15) / 16 * 16;
  return double(packed) / double(head_dim);
}

bool any_input(const std::vector<LinearMemory>& stage) {
  return std::ranges::any_of(stage, [](const LinearMemory& l) { return l.input; });
}

class Walk {
 public:
  Walk(const ModelConfig& c, std::vector<std::vector<LinearMemory>> stages, std::int64_t sequences, std::int64_t length)
      : c_(c),
        stages_(std::move(stages)),
        d_(double(c.hidden)),
        f_(double(c.ffn)),
        q_(double(c.heads * c.head_dim)),
        kv_(double(c.kv_heads * c.head_dim)),
        padded_(padded_share(c.head_dim)) {
    // dq is summed over shares of the keys: ops/attention_vjp_cpu.cpp
    shares_ = double(std::clamp<std::int64_t>(8 / std::max<std::int64_t>(sequences * c.kv_heads, 1), 1,
                                              std::clamp<std::int64_t>((length + 63) / 64, 1, 4)));
  }

  BlockMemory run() {
    m_.kept = d_;  // h, by the first norm
    linears(stages_[0], any_input(stages_[0]) ? 0 : d_);
    attention();
    m_.kept += stages_[1][0].kept;  // its input is the attention's output, kept already
    backward(d_ + stages_[1][0].backward);
    m_.kept += d_;  // h + o, by the second norm
    backward(3 * d_);
    // Until it returns a block holds its norms' outputs, a LLaMA also that of W_o.
    const bool llama = c_.family == Family::llama;
    const double norm = any_input(stages_[2]) ? 0 : d_;
    locals_ = llama ? norm + d_ + (any_input(stages_[0]) ? 0 : d_) : norm;
    linears(stages_[2], locals_);
    if (llama) llama_end();
    else opt_end();
    return m_;
  }

 private:
  void backward(double beside) { m_.backward = std::max(m_.backward, m_.kept + beside); }
  void forward(double beside) { m_.forward = std::max(m_.forward, m_.kept + beside); }
  void alone(double values) { m_.alone = std::max(m_.alone, values); }

  // Linears that share an input [d]. Backward goes from the last to the first: beside dh [d] there are the dy of this one
  // and of those before it, and from the second on the sum of dx.
  void linears(const std::vector<LinearMemory>& stage, double locals) {
    if (any_input(stage)) m_.kept += d_;
    double dy = 0;
    for (std::size_t i = 0; i < stage.size(); ++i) {
      m_.kept += stage[i].kept;
      dy += stage[i].m;
      backward(d_ + dy + stage[i].backward + (i + 1 < stage.size() ? d_ : 0));
      forward(locals + dy - stage[i].m + stage[i].forward);
    }
  }

  // Keeps q, k, v, o and log Σ exp. Backward makes packed copies of q, dy, k, kᵀ, vᵀ, the shares of dq, then dq, dk, dv.
  void attention() {
    m_.kept += 2 * q_ + 2 * kv_ + double(c_.heads);
    backward(d_ + q_ + padded_ * ((2 + shares_) * q_ + 3 * kv_) + q_ + 2 * kv_ + double(c_.heads));
  }

  // h1 + W_d (silu(g) ⊙ u): gate and up are kept; dy of down, d(silu(g) ⊙ u), dg and du.
  void llama_end() {
    const LinearMemory& down = stages_[3][0];
    const double last = std::max(down.forward, 2 * d_);
    m_.kept += 2 * f_;
    backward(d_ + 3 * f_);
    if (down.input) m_.kept += f_;
    m_.kept += down.kept;
    backward(d_ + down.backward);
    forward(locals_ + (down.input ? 0 : f_) + last);
    alone(6 * d_ + q_ + kv_ + 3 * f_ + std::max(down.alone, 2 * d_));
  }

  // h1 + W_2 act(W_1 x): relu keeps its output, gelu its input.
  void opt_end() {
    const LinearMemory& down = stages_[3][0];
    const bool output_kept = c_.activation == Activation::relu;
    m_.kept += f_;
    backward(d_ + 2 * f_);
    if (down.input && !output_kept) m_.kept += f_;
    m_.kept += down.kept;
    backward(d_ + down.backward);
    forward(locals_ + (down.input && !output_kept ? 0 : f_) + std::max(down.forward, 2 * d_));
    alone(4 * d_ + 2 * f_ + std::max(down.alone, 2 * d_));
    alone(7 * d_ + padded_ * 2 * kv_);
  }

  const ModelConfig& c_;
  const std::vector<std::vector<LinearMemory>> stages_;
  const double d_, f_, q_, kv_, padded_;
  double shares_ = 1, locals_ = 0;
  BlockMemory m_;
};

}  // namespace

BlockMemory block_memory(Block& block, const ModelConfig& c, const Learning& learning,
                         const std::vector<Linear*>& adapted, std::int64_t sequences, std::int64_t length) {
  std::vector<std::vector<LinearMemory>> stages;
  for (const auto& stage : block.stages()) {
    auto& costs = stages.emplace_back();
    for (Linear* l : stage) costs.push_back(memory_of(*l, learning, std::ranges::count(adapted, l) > 0));
  }
  return Walk(c, std::move(stages), sequences, length).run();
}

}  // namespace sinter
