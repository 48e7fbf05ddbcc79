#include "models/linear.h"

#include "core/basic_kernels.h"
#include "models/weights/formats.h"
#include "ops/elementwise.h"
#include "ops/frozen_linear.h"
#include "ops/linear.h"

namespace sinter {

void thaw(Weight& w, const std::string& name) {
  if (auto* t = std::get_if<Tensor>(&w)) w = std::make_unique<Param>(name, cast(*t, DType::f32).clone());
}

void thaw(Matrix& w, const std::string& name) {
  if (std::holds_alternative<FrozenWeightPtr>(w)) w = std::make_unique<Param>(name, values(w).clone());
}

Tensor values(const Weight& w) {
  return std::visit(Match{[](const Tensor& t) { return cast(t, DType::f32); },
                          [](const std::unique_ptr<Param>& p) { return p->value(); }},
                    w);
}

Tensor values(const Matrix& w) {
  return std::visit(Match{[](const std::unique_ptr<Param>& p) { return p->value(); },
                          [](const FrozenWeightPtr& f) { return f->dense(f->all()); }},
                    w);
}

Var Linear::forward(const Context& ctx, const Var& x) const {
  Var y = product(ctx, x);
  if (ctx.observer) ctx.observer->on_linear(*this, x.value(), y.value());
  return y;
}

// A fixed bias goes into the frozen product; a trainable one is an op of its own.
Var Linear::product(const Context& ctx, const Var& x) const {
  const auto* fixed = bias_ ? std::get_if<Tensor>(&*bias_) : nullptr;
  const Tensor bias = fixed ? *fixed : Tensor();
  const auto frozen = [&](const FrozenWeightPtr& w) {
    return adapter_ ? adapter_->forward(ctx, x, w, bias) : frozen_linear(x, w, bias, ctx.compute);
  };
  const Var y = std::visit(
      Match{[&](const std::unique_ptr<Param>& w) { return linear(x, ctx.use(*w), ctx.compute); }, frozen}, weight_);
  const bool added = fixed && std::holds_alternative<FrozenWeightPtr>(weight_);
  return bias_ && !added ? add_bias(y, ctx.use(*bias_)) : y;
}

void Linear::replace(FrozenWeightPtr w) {
  require(w->out_features() == out_features() && w->in_features() == in_features(), ErrorCode::shape, name_,
          "cannot replace ", Shape{out_features(), in_features()}, " by ", Shape{w->out_features(), w->in_features()});
  weight_ = std::move(w);
}

void Linear::thaw() {
  sinter::thaw(weight_, name_ + ".weight");
  if (bias_) sinter::thaw(*bias_, name_ + ".bias");
}

void Linear::attach(std::unique_ptr<Adapter> adapter) {
  (void)frozen();
  adapter_ = std::move(adapter);
}

const FrozenWeightPtr& Linear::frozen() const {
  const auto* w = std::get_if<FrozenWeightPtr>(&weight_);
  require(w != nullptr, ErrorCode::unsupported, name_, "its weight is trainable");
  return *w;
}

std::int64_t Linear::out_features() const {
  return std::visit(Match{[](const std::unique_ptr<Param>& p) { return p->value().shape()[0]; },
                          [](const FrozenWeightPtr& w) { return w->out_features(); }},
                    weight_);
}

std::int64_t Linear::in_features() const {
  return std::visit(Match{[](const std::unique_ptr<Param>& p) { return p->value().shape()[1]; },
                          [](const FrozenWeightPtr& w) { return w->in_features(); }},
                    weight_);
}

void Linear::each_param(const EachParam& f) {
  if (auto* w = std::get_if<std::unique_ptr<Param>>(&weight_)) f(**w);
  if (bias_)
    if (auto* b = std::get_if<std::unique_ptr<Param>>(&*bias_)) f(**b);
  if (adapter_) adapter_->each_param(f);
}

}  // namespace sinter
