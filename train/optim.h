#pragma once
#include <span>
#include <vector>

#include "core/param.h"
#include "core/tensor_file.h"

namespace sinter {

// Linear warm-up to the peak over `warmup` steps, then down to floor·peak at `steps`, linearly or along a cosine, or constant.
struct Schedule {
  enum class Decay { linear, cosine, constant } decay = Decay::linear;
  double peak = 1e-3, floor = 0;
  std::int64_t warmup = 0, steps = 0;
  double at(std::int64_t step) const;  // step 0 is the first update
};

// ‖g‖₂ over the gradients of all params, summed in their order. A Param without a gradient counts as zero.
double global_norm(std::span<Param* const>, const Grads&);

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};

// A copy of the tensor of that name; Error(input) unless it has the shape and type of `like`.
Tensor stored_like(const TensorFile&, const std::string& name, const Tensor& like);

// AdamW with decoupled decay (Loshchilov & Hutter 2019): f32 params and state. Matrices decay, vectors do not.
class AdamW {
 public:
  AdamW(std::vector<Param*> params, AdamWOptions);
  // One update with every gradient multiplied by `grad_scale` (1/accumulation, clipping).
  void step(const Grads&, double lr, double grad_scale);
  std::int64_t steps() const { return t_; }

  // The state as tensors "m.<i>", "v.<i>", and back (for snapshots).
  void save(NamedTensors&) const;
  void load(const TensorFile&, std::int64_t steps);

 private:
  std::vector<Param*> params_;
  AdamWOptions o_;
  std::vector<Tensor> m_, v_;
  std::int64_t t_ = 0;
};

}  // namespace sinter
