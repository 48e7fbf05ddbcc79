#include "core/basic_kernels.h"
#include "models/adapter.h"
#include "models/adapters/start.h"
#include "ops/elementwise.h"
#include "ops/frozen_linear.h"
#include "ops/linear.h"

namespace sinter {
namespace {

class Lora final : public Adapter {
 public:
  Lora(const std::string& name, const FrozenWeight& w, const AdapterOptions& o, Rng rng)
      : scale_(o.scale),
        dropout_(o.dropout, rng),
        a_(name + ".lora_A.weight", uniform_start({o.rank, w.in_features()}, rng)),
        b_(name + ".lora_B.weight", Tensor::zeros({w.out_features(), o.rank}, DType::f32)) {}

  // x Wᵀ + b + scale·(x Aᵀ) Bᵀ; the correction is summed in f32 in either numeric mode
  Var forward(const Context& ctx, const Var& x, const FrozenWeightPtr& w, const Tensor& bias) const override {
    const Var base = frozen_linear(x, w, bias, ctx.compute);
    const Var narrow = linear(dropout_.apply(ctx, x), ctx.use(a_), Compute::f32);
    return add(base, linear(scale(narrow, scale_), ctx.use(b_), Compute::f32));
  }

  Tensor merged(const FrozenWeight& w, Rows rows, DType dtype) const override {
    Tensor out = own_rows(w, rows, dtype);
    const Tensor b = scale(cast(b_.value().rows(rows.begin, rows.end), dtype), scale_).value();
    accumulate(out.device(), out, matmul(b, Trans::no, cast(a_.value(), dtype), Trans::no));
    return out;
  }
  bool keeps_zeros() const override { return false; }
  void each_param(const EachParam& f) override {
    f(a_);
    f(b_);
  }

 private:
  double scale_;
  AdapterDropout dropout_;
  Param a_, b_;
};

}  // namespace

std::unique_ptr<Adapter> make_lora_adapter(const std::string& name, const FrozenWeight& w, const AdapterOptions& o,
                                           Rng rng) {
  require(o.rank >= 1, ErrorCode::usage, name, "rank ", o.rank, " is not positive");
  return std::make_unique<Lora>(name, w, o, rng);
}

}  // namespace sinter
