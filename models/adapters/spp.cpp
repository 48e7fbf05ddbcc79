#include "ops/spp.h"
#include "core/basic_kernels.h"
#include "models/adapter.h"
#include "models/adapters/start.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/frozen_linear.h"

namespace sinter {
namespace {

class Spp final : public Adapter {
 public:
  Spp(const std::string& name, const FrozenWeight& w, const AdapterOptions& o, Rng rng)
      : scale_(o.scale),
        dropout_(o.dropout, rng),
        alpha_(name + ".spp_alpha", uniform_start({o.rank, w.in_features()}, rng)),
        beta_(name + ".spp_beta", Tensor::zeros({w.out_features()}, DType::f32)) {
    check_spp(name, w, alpha_.value(), beta_.value());
  }

  // Without dropout one product does both.
  Var forward(const Context& ctx, const Var& x, const FrozenWeightPtr& w, const Tensor& bias) const override {
    const Var alpha = ctx.use(alpha_), beta = ctx.use(beta_);
    if (!dropout_.acts(ctx)) return spp_linear(x, w, bias, alpha, beta, scale_, ctx.compute);
    const Var base = frozen_linear(x, w, bias, ctx.compute);
    return add(base, spp(dropout_.apply(ctx, x), w, alpha, beta, scale_, ctx.compute));
  }

  Tensor merged(const FrozenWeight& w, Rows rows, DType dtype) const override {
    Tensor out = own_rows(w, rows, dtype);
    spp_strip_kernel(out.device(), out, rows.begin, cast(alpha_.value(), dtype), cast(beta_.value(), dtype), scale_);
    return out;
  }
  bool keeps_zeros() const override { return true; }
  void each_param(const EachParam& f) override {
    f(alpha_);
    f(beta_);
  }

 private:
  double scale_;
  AdapterDropout dropout_;
  Param alpha_, beta_;
};

}  // namespace

std::unique_ptr<Adapter> make_spp_adapter(const std::string& name, const FrozenWeight& w, const AdapterOptions& o,
                                          Rng rng) {
  return std::make_unique<Spp>(name, w, o, rng);
}

}  // namespace sinter
