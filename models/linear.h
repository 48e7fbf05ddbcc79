#pragma once
#include <functional>
#include <optional>

#include "models/adapter.h"

namespace sinter {

using EachWeight = std::function<void(const std::string& name, Weight&)>;

void thaw(Weight&, const std::string& name);  // a Param of the same f32 values
void thaw(Matrix&, const std::string& name);
Tensor values(const Weight&);  // f32
Tensor values(const Matrix&);  // [out, in], f32

// One linear layer, y = x Wᵀ + b. Its weight is either trainable or frozen, never a flag; a frozen one may carry an adapter.
class Linear {
 public:
  Linear(std::string name, Matrix w, std::optional<Weight> bias = {})
      : name_(std::move(name)), weight_(std::move(w)), bias_(std::move(bias)) {}

  Var forward(const Context&, const Var& x) const;  // x [T, in] -> [T, out]
  void replace(FrozenWeightPtr w);  // what a compressor does; the shape must stay
  void thaw();  // a Param of the dense values, bias too
  void attach(std::unique_ptr<Adapter>);  // Error(unsupported) when the weight is trainable
  std::unique_ptr<Adapter> detach() { return std::move(adapter_); }
  const Adapter* adapter() const { return adapter_.get(); }
  Tensor dense() const { return values(weight_); }  // [out, in] f32
  const FrozenWeightPtr& frozen() const;  // Error(unsupported) when it is trainable

  std::int64_t out_features() const;
  std::int64_t in_features() const;
  const std::string& name() const { return name_; }  // "model.layers.0.self_attn.q_proj"
  const Matrix& weight() const { return weight_; }
  const std::optional<Weight>& bias() const { return bias_; }
  void each_param(const EachParam&);

 private:
  Var product(const Context&, const Var& x) const;
  std::string name_;
  Matrix weight_;
  std::optional<Weight> bias_;  // [out]
  std::unique_ptr<Adapter> adapter_;
};

}  // namespace sinter
