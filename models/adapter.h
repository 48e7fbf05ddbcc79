#pragma once
#include <memory>
#include <string>

#include "models/context.h"

namespace sinter {

// A trainable correction ΔW of one frozen linear [m, n], learned while the weight stays as it is.
class Adapter {
 public:
  virtual ~Adapter() = default;
  // x·(W + ΔW)ᵀ + bias, [T, in] -> [T, out]; bias may be empty. Dropout acts only while a tape records.
  virtual Var forward(const Context&, const Var& x, const FrozenWeightPtr& w, const Tensor& bias) const = 0;
  // The rows of W + ΔW, in f32 or f64.
  virtual Tensor merged(const FrozenWeight& w, Rows, DType = DType::f32) const = 0;
  virtual bool keeps_zeros() const = 0;  // a zero of W is a zero of W + ΔW
  virtual void each_param(const EachParam&) = 0;
};

struct AdapterOptions {
  std::int64_t rank = 16;
  double scale = 2;
  double dropout = 0.05;  // of the correction's input
};

// SPP (ops/spp.h): α [rank, n] uniform in ±1/√n, β [m] = 0, so that the first step starts from the frozen output bit for
// bit. Params "<name>.spp_alpha" and "<name>.spp_beta". Error(usage) naming the linear when rank does not divide m.
std::unique_ptr<Adapter> make_spp_adapter(const std::string& name, const FrozenWeight&, const AdapterOptions&, Rng);

// LoRA (Hu et al., ICLR 2022): ΔW = scale·B·A, A [rank, n] uniform in ±1/√n, B [m, rank] = 0. scale is alpha / rank, or
// alpha / √rank (rsLoRA). Params "<name>.lora_A.weight" and "<name>.lora_B.weight".
std::unique_ptr<Adapter> make_lora_adapter(const std::string& name, const FrozenWeight&, const AdapterOptions&, Rng);

}  // namespace sinter
