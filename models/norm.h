#pragma once
#include <optional>

#include "models/linear.h"
#include "ops/layer_norm.h"
#include "ops/rms_norm.h"

namespace sinter {

// RMSNorm, or LayerNorm where there is a bias.
struct Norm {
  std::string name;  // "model.layers.0.input_layernorm"
  Weight weight;  // [d]
  std::optional<Weight> bias;
  double eps = 1e-5;

  Var forward(const Context& ctx, const Var& x) const {
    return bias ? layer_norm(x, ctx.use(weight), ctx.use(*bias), eps) : rms_norm(x, ctx.use(weight), eps);
  }
  void each_weight(const EachWeight& f) {
    f(name + ".weight", weight);
    if (bias) f(name + ".bias", *bias);
  }
};

}  // namespace sinter
