#pragma once
#include <string>
#include <unordered_map>
#include "core/basic_kernels.h"
#include "core/tensor.h"

namespace sinter {

// A trainable tensor. The only thing a gradient can belong to.
class Param {
 public:
  Param(std::string name, Tensor value) : name_(std::move(name)), value_(std::move(value)) {}
  Param(const Param&) = delete;
  Param& operator=(const Param&) = delete;
  const std::string& name() const { return name_; }
  const Tensor& value() const { return value_; }
  void assign(Tensor v) {
    require(v.shape() == value_.shape(), ErrorCode::shape, name_, "assign ", v.shape(), " to ", value_.shape());
    value_ = std::move(v);
  }

 private:
  std::string name_;
  Tensor value_;
};

// Gradients live here, keyed by Param, never inside a tensor.
class Grads {
 public:
  const Tensor* find(const Param& p) const {
    auto it = g_.find(&p);
    return it == g_.end() ? nullptr : &it->second;
  }
  void add(const Param& p, Tensor g) { sum_into(g_[&p], std::move(g)); }
  std::size_t size() const { return g_.size(); }
  static void sum_into(Tensor& slot, Tensor g) {
    if (!slot) {
      slot = std::move(g);
      return;
    }
    if (!slot.sole_owner()) {
      Tensor fresh = Tensor::zeros(slot.shape(), slot.dtype(), slot.device());
      accumulate(fresh.device(), fresh, slot);
      slot = std::move(fresh);
    }
    accumulate(slot.device(), slot, g);
  }

 private:
  std::unordered_map<const Param*, Tensor> g_;
};

}  // namespace sinter
