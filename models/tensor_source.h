#pragma once
#include <string>

#include "core/tensor.h"
#include "models/norm.h"

namespace sinter {

// Where a model's builder finds its tensors: a checkpoint, or fresh random values.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual bool has(const std::string& name) const = 0;
  virtual Tensor vector(const std::string& name, Shape) = 0;  // f32; norms, biases, positions
  virtual FrozenWeightPtr matrix(const std::string& name, std::int64_t out,
                                 std::int64_t in) = 0;  // `name` without ".weight"
};

// y = x Wᵀ (+ b) with tensors "<name>.weight" and "<name>.bias".
Linear make_linear(TensorSource&, const std::string& name, std::int64_t out, std::int64_t in, bool bias);
Norm make_norm(TensorSource&, const std::string& name, std::int64_t width, double eps, bool bias);

}  // namespace sinter
