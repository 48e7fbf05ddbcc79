#include "models/attention_layer.h"

#include <cmath>

#include "ops/attention.h"

namespace sinter {

Var attend(const Pass& pass, int layer, const ModelConfig& c, const Var& q, const Var& k, const Var& v) {
  const AttentionShape shape{c.heads, c.kv_heads, c.head_dim, 1 / std::sqrt(double(c.head_dim))};
  if (pass.cache) {
    const auto held = pass.cache->append(layer, k.value(), v.value());
    return attention(q, held.keys, held.values, shape, {{0, q.shape()[0], 0, held.keys.shape()[0]}});
  }
  std::vector<AttentionSpan> spans;
  for (const auto& s : pass.layout.sequences) spans.push_back({s.row, s.length, s.row, s.length});
  return attention(q, k, v, shape, std::move(spans));
}

}  // namespace sinter
