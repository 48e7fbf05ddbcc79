#include "train/compress/work.h"

namespace sinter {

Work forward_work(Block& block, const ModelConfig& c, double tokens, double length) {
  double flops = 2 * tokens * length * double(c.heads * c.head_dim);  // causal attention: q kᵀ and p v, half of each
  for (const auto& stage : block.stages())
    for (const Linear* l : stage) flops += 2 * tokens * double(l->out_features()) * double(l->in_features());
  return {.product = flops};
}

Work gram_work(double n, double tokens) { return {.product = tokens * n * n}; }

Work solve_work(const Linear& l, bool factors, bool shared) {
  const double m = double(l.out_features()), n = double(l.in_features());
  if (!factors) return {.sweep = 50 * m * n};  // sorts and sums
  return {.factor = shared ? 0 : n * n * n / 3, .sweep = m * n * n};  // Cholesky; half of a product of W
}

}  // namespace sinter
