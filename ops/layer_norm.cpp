#include "ops/layer_norm.h"

#include <cmath>
#include <vector>

#include "core/view.h"
#include "ops/operands.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

// x̂ = (x − mean(x))·r,  r = 1 / √(var(x) + eps);  returns r
template <class T>
T standardize(T* y, const T* x, std::int64_t d, double eps) {
  const T mean = row_sum(x, d) / T(d);
  map_row(
      y, d, [mean](T v) { return v - mean; }, x);
  const T r = 1 / std::sqrt(row_dot(y, y, d) / T(d) + T(eps));
  row_scale(y, r, d);
  return r;
}

void layer_norm_cpu(const Tensor& x, const Tensor& w, const Tensor& b, double eps, Tensor& y) {
  visit_float(x.dtype(), "layer_norm", [&]<class T>() {
    const std::int64_t d = w.numel();
    const T *in = x.data<T>().data(), *gain = w.data<T>().data(), *bias = b.data<T>().data();
    T* out = y.mutable_data<T>().data();
    parallel_for(ConstView(x).rows(), row_grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t at = begin * d; at < end * d; at += d) {
        standardize(out + at, in + at, d, eps);
        row_mul(out + at, out + at, gain, d);
        row_add(out + at, bias, d);
      }
    });
  });
}

// dx = r·(g − mean(g) − x̂·mean(g·x̂)),  dw = Σ_t dy ⊙ x̂,  db = Σ_t dy,  g = dy ⊙ w;  x, dy [T, d]
template <class T>
void backward(const Tensor& x, const Tensor& w, const Tensor& dy, double eps, T* dx, std::span<T> dwb) {
  const std::int64_t d = x.shape()[-1];
  const T *in = x.data<T>().data(), *grad = dy.data<T>().data();
  const T* gain = dx ? w.data<T>().data() : nullptr;
  rows_with_sum<T>(ConstView(x).rows(), d, dwb, [&](std::int64_t begin, std::int64_t end, T* share) {
    std::vector<T> standard(static_cast<std::size_t>(d));
    T* xh = standard.data();
    for (std::int64_t at = begin * d; at < end * d; at += d) {
      const T r = standardize(xh, in + at, d, eps);
      if (dx) {
        T* out = dx + at;
        row_mul(out, grad + at, gain, d);
        const T mean = row_sum(out, d) / T(d), along = row_dot(out, xh, d) / T(d);
        row_axpy(out, -along, xh, d);
        for (std::int64_t j = 0; j < d; ++j) out[j] = r * (out[j] - mean);
      }
      if (!dwb.empty()) {
        row_mul(xh, xh, grad + at, d);
        row_add(share, xh, d);
        row_add(share + d, grad + at, d);
      }
    }
  });
}

void layer_norm_backward_cpu(const Tensor& x, const Tensor& w, const Tensor& dy, double eps, Tensor& dx, Tensor& dwb) {
  visit_float(dy.dtype(), "layer_norm_backward", [&]<class T>() {
    backward<T>(x, w, dy, eps, dx ? dx.mutable_data<T>().data() : nullptr,
                dwb ? dwb.mutable_data<T>() : std::span<T>());
  });
}

struct LayerNormOp {
  static constexpr std::string_view name = "layer_norm";
  static constexpr std::size_t arity = 3;  // x, w, b
  struct Saved {
    Tensor x, w;  // w only where dx is needed
    double eps;
  };
  static Cotangents<3> vjp(const Saved& s, const Tensor& dy, Needs<3> n) {
    const Shape vector{dy.shape()[-1]};
    Tensor dx, dwb;
    if (n[0]) dx = empty_like(dy);
    if (n[1] || n[2]) dwb = Tensor::empty({2, vector[0]}, dy.dtype(), dy.device());
    layer_norm_backward_kernel(dy.device(), s.x, s.w, dy, s.eps, dx, dwb);
    return {dx, n[1] ? dwb.rows(0, 1).reshape(vector) : Tensor(), n[2] ? dwb.rows(1, 2).reshape(vector) : Tensor()};
  }
};

}  // namespace

constinit KernelSlot<void(const Tensor&, const Tensor&, const Tensor&, double, Tensor&)> layer_norm_kernel{
    "layer_norm", layer_norm_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, const Tensor&, double, Tensor&, Tensor&)>
    layer_norm_backward_kernel{"layer_norm_backward", layer_norm_backward_cpu};

Var layer_norm(const Var& x, const Var& w, const Var& b, double eps) {
  require_row_vector(LayerNormOp::name, "weight", w.value(), x.value());
  require_row_vector(LayerNormOp::name, "bias", b.value(), x.value());
  Tensor y = empty_like(x.value());
  layer_norm_kernel(y.device(), x.value(), w.value(), b.value(), eps, y);
  return record<LayerNormOp>({x, w, b}, std::move(y), {x.value(), x.tracked() ? w.value() : Tensor(), eps});
}

}  // namespace sinter
