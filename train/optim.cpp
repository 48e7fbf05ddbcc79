#include "train/optim.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/parallel.h"

namespace sinter {

double Schedule::at(std::int64_t step) const {
  if (step < warmup) return peak * double(step + 1) / double(warmup);
  if (decay == Decay::constant) return peak;
  const double span = double(std::max<std::int64_t>(1, steps - warmup));
  const double left = std::clamp(1 - double(step - warmup) / span, 0.0, 1.0);
  const double shape = decay == Decay::linear ? left : 0.5 * (1 - std::cos(std::numbers::pi * left));
  return peak * (floor + (1 - floor) * shape);
}

double global_norm(std::span<Param* const> params, const Grads& grads) {
  double sum = 0;
  for (const Param* p : params) {
    const Tensor* g = grads.find(*p);
    if (!g) continue;
    const float* x = g->data<float>().data();
    sum += ordered_sum(g->numel(), [x](std::int64_t b, std::int64_t e) {
      double s = 0;
      for (auto i = b; i < e; ++i) s += double(x[i]) * double(x[i]);
      return s;
    });
  }
  return std::sqrt(sum);
}

AdamW::AdamW(std::vector<Param*> params, AdamWOptions o) : params_(std::move(params)), o_(o) {
  for (const Param* p : params_) {
    require(p->value().dtype() == DType::f32, ErrorCode::dtype, p->name(), "parameters are f32, got ",
            info(p->value().dtype()).name);
    m_.push_back(Tensor::zeros(p->value().shape(), DType::f32));
    v_.push_back(Tensor::zeros(p->value().shape(), DType::f32));
  }
}

// m = β1 m + (1−β1) g;  v = β2 v + (1−β2) g²;  w −= lr · (m̂ / (√v̂ + eps) + decay · w),  m̂ = m / (1−β1ᵗ), v̂ = v / (1−β2ᵗ)
void AdamW::step(const Grads& grads, double lr, double grad_scale) {
  ++t_;
  const float b1 = float(o_.beta1), b2 = float(o_.beta2), eps = float(o_.eps), scale = float(grad_scale);
  const float c1 = float(lr / (1 - std::pow(o_.beta1, double(t_)))),
              c2 = float(1 / (1 - std::pow(o_.beta2, double(t_))));
  for (std::size_t k = 0; k < params_.size(); ++k) {
    Param& p = *params_[k];
    const Tensor* g = grads.find(p);
    if (!g) continue;
    const float keep = float(1 - lr * (p.value().shape().rank() >= 2 ? o_.weight_decay : 0));
    Tensor next = Tensor::empty(p.value().shape(), DType::f32);
    float* w = next.mutable_data<float>().data();
    const float *w0 = p.value().data<float>().data(), *G = g->data<float>().data();
    float *m = m_[k].mutable_data<float>().data(), *v = v_[k].mutable_data<float>().data();
    parallel_for(next.numel(), 1 << 15, [&](std::int64_t b, std::int64_t e) {
      for (auto i = b; i < e; ++i) {
        const float gi = G[i] * scale;
        m[i] = b1 * m[i] + (1 - b1) * gi;
        v[i] = b2 * v[i] + (1 - b2) * gi * gi;
        w[i] = keep * w0[i] - c1 * m[i] / (std::sqrt(v[i] * c2) + eps);
      }
    });
    p.assign(std::move(next));
  }
}

Tensor stored_like(const TensorFile& from, const std::string& name, const Tensor& like) {
  const Tensor t = from.tensor(name);
  require(t.shape() == like.shape() && t.dtype() == like.dtype(), ErrorCode::input, from.path(), "tensor ", name,
          " is ", info(t.dtype()).name, " ", t.shape(), ", expected ", info(like.dtype()).name, " ", like.shape());
  return t.clone();
}

void AdamW::save(NamedTensors& out) const {
  for (std::size_t k = 0; k < params_.size(); ++k) {
    out.emplace_back("m." + std::to_string(k), m_[k]);
    out.emplace_back("v." + std::to_string(k), v_[k]);
  }
}

void AdamW::load(const TensorFile& from, std::int64_t steps) {
  for (std::size_t k = 0; k < params_.size(); ++k) {
    m_[k] = stored_like(from, "m." + std::to_string(k), params_[k]->value());
    v_[k] = stored_like(from, "v." + std::to_string(k), params_[k]->value());
  }
  t_ = steps;
}

}  // namespace sinter
