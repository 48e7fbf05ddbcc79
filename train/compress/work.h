#pragma once
#include "models/causal_lm.h"

namespace sinter {

// Floating-point operations by kind; the kinds run at different rates.
struct Work {
  double product = 0, factor = 0, sweep = 0;
  Work& operator+=(const Work& w) {
    product += w.product;
    factor += w.factor;
    sweep += w.sweep;
    return *this;
  }
};

// Operations per second. Where only shares matter: a factorisation runs at about half the rate of a product, a column
// sweep at a quarter.
struct Rates {
  double product = 1, factor = 0.5, sweep = 0.25;
  double seconds(const Work& w) const { return w.product / product + w.factor / factor + w.sweep / sweep; }
};

// One forward pass of `tokens` rows in windows of `length` through a block.
Work forward_work(Block&, const ModelConfig&, double tokens, double length);
// Σ x xᵀ of inputs of n columns, half of it.
Work gram_work(double n, double tokens);
// The solve of one linear. factors: its method factors the Gram matrix; shared: another linear's solve did that.
Work solve_work(const Linear&, bool factors, bool shared);

}  // namespace sinter
