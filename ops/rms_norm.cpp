#include "ops/rms_norm.h"

#include <cmath>
#include <vector>

#include "core/view.h"
#include "ops/elementwise.h"
#include "ops/operands.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

template <class T>
T inverse_rms(const T* x, std::int64_t d, double eps) {
  return 1 / std::sqrt(row_dot(x, x, d) / T(d) + T(eps));
}

// y = x·r ⊙ w,  r = 1/rms(x);  one row
template <class T>
void norm_row(T* y, const T* x, const T* w, std::int64_t d, double eps) {
  const T r = inverse_rms(x, d, eps);
  map_row(
      y, d, [r](T v, T g) { return v * r * g; }, x, w);
}

void rms_norm_cpu(const Tensor& x, const Tensor& w, double eps, Tensor& y) {
  visit_float(x.dtype(), "rms_norm", [&]<class T>() {
    const std::int64_t d = w.numel();
    const T *in = x.data<T>().data(), *gain = w.data<T>().data();
    T* out = y.mutable_data<T>().data();
    parallel_for(ConstView(x).rows(), row_grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) norm_row(out + t * d, in + t * d, gain, d, eps);
    });
  });
}

void add_rms_norm_cpu(const Tensor& x, const Tensor& r, const Tensor& w, double eps, Tensor& h, Tensor& y) {
  visit_float(x.dtype(), "add_rms_norm", [&]<class T>() {
    const std::int64_t d = w.numel();
    const T *a = x.data<T>().data(), *b = r.data<T>().data(), *gain = w.data<T>().data();
    T *sum = h.mutable_data<T>().data(), *out = y.mutable_data<T>().data();
    parallel_for(ConstView(x).rows(), row_grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t at = begin * d; at < end * d; at += d) {
        map_row(
            sum + at, d, [](T p, T q) { return p + q; }, a + at, b + at);
        norm_row(out + at, sum + at, gain, d, eps);
      }
    });
  });
}

// dx = r·(g − x·mean(g·x)·r²),  dw = Σ_t dy ⊙ x·r,  g = dy ⊙ w,  r = 1/rms(x);  x, dy [T, d]
template <class T>
void backward(const Tensor& x, const Tensor& w, const Tensor& dy, const Tensor& residual, double eps, T* dx,
              std::span<T> dw) {
  const std::int64_t d = x.shape()[-1];
  const T *in = x.data<T>().data(), *grad = dy.data<T>().data();
  const T* gain = dx ? w.data<T>().data() : nullptr;
  const T* plus = dx && residual ? residual.data<T>().data() : nullptr;
  rows_with_sum<T>(ConstView(x).rows(), d, dw, [&](std::int64_t begin, std::int64_t end, T* share) {
    std::vector<T> product(dw.empty() ? 0 : std::size_t(d));
    for (std::int64_t at = begin * d; at < end * d; at += d) {
      const T r = inverse_rms(in + at, d, eps);
      if (dx) {
        T* out = dx + at;
        row_mul(out, grad + at, gain, d);
        const T mean = row_dot(out, in + at, d) / T(d);
        row_scale(out, r, d);
        row_axpy(out, -mean * r * r * r, in + at, d);
        if (plus) row_add(out, plus + at, d);
      }
      if (!dw.empty()) {
        row_mul(product.data(), grad + at, in + at, d);
        row_axpy(share, r, product.data(), d);
      }
    }
  });
}

void rms_norm_backward_cpu(const Tensor& x, const Tensor& w, const Tensor& dy, const Tensor& residual, double eps,
                           Tensor& dx, Tensor& dw) {
  visit_float(dy.dtype(), "rms_norm_backward", [&]<class T>() {
    backward<T>(x, w, dy, residual, eps, dx ? dx.mutable_data<T>().data() : nullptr,
                dw ? dw.mutable_data<T>() : std::span<T>());
  });
}

struct SavedNorm {
  Tensor x, w;  // w only where dx is needed
  double eps;
};

Cotangents<2> norm_vjp(const SavedNorm& s, const Tensor& dy, const Tensor& residual, Needs<2> n) {
  Cotangents<2> d;
  if (n[0]) d[0] = empty_like(s.x);
  if (n[1]) d[1] = Tensor::empty({s.x.shape()[-1]}, s.x.dtype(), s.x.device());
  rms_norm_backward_kernel(dy.device(), s.x, s.w, dy, residual, s.eps, d[0], d[1]);
  return d;
}

struct RmsNormOp {
  static constexpr std::string_view name = "rms_norm";
  static constexpr std::size_t arity = 2;  // x, w
  using Saved = SavedNorm;
  static Cotangents<2> vjp(const Saved& s, const Tensor& dy, Needs<2> n) { return norm_vjp(s, dy, {}, n); }
};

struct AddRmsNormOp {
  static constexpr std::string_view name = "add_rms_norm";
  static constexpr std::size_t arity = 3;  // x, r, w
  static constexpr std::size_t outputs = 2;  // h, y
  using Saved = SavedNorm;  // of h

  // dx = dr = dh + (dy through the norm)
  static Cotangents<3> vjp(const Saved& s, const std::array<Tensor, 2>& d, Needs<3> n) {
    const bool through = n[0] || n[1];
    Cotangents<2> norm{d[0], Tensor()};
    if (d[1]) norm = norm_vjp(s, d[1], d[0], {through, n[2]});
    return {n[0] ? norm[0] : Tensor(), n[1] ? norm[0] : Tensor(), norm[1]};
  }
};

}  // namespace

constinit KernelSlot<void(const Tensor&, const Tensor&, double, Tensor&)> rms_norm_kernel{"rms_norm", rms_norm_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, const Tensor&, double, Tensor&, Tensor&)> add_rms_norm_kernel{
    "add_rms_norm", add_rms_norm_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&, double, Tensor&, Tensor&)>
    rms_norm_backward_kernel{"rms_norm_backward", rms_norm_backward_cpu};

Var rms_norm(const Var& x, const Var& w, double eps) {
  require_row_vector(RmsNormOp::name, "weight", w.value(), x.value());
  Tensor y = empty_like(x.value());
  rms_norm_kernel(y.device(), x.value(), w.value(), eps, y);
  return record<RmsNormOp>({x, w}, std::move(y), {x.value(), x.tracked() ? w.value() : Tensor(), eps});
}

std::array<Var, 2> add_rms_norm(const Var& x, const Var& r, const Var& w, double eps) {
  require_row_vector(AddRmsNormOp::name, "weight", w.value(), x.value());
  require_alike(AddRmsNormOp::name, x.value(), r.value());
  require(x.shape() == r.shape(), ErrorCode::shape, AddRmsNormOp::name, x.shape(), " and ", r.shape());
  Tensor h = empty_like(x.value()), y = empty_like(x.value());
  add_rms_norm_kernel(h.device(), x.value(), r.value(), w.value(), eps, h, y);
  return record<AddRmsNormOp>({x, r, w}, {h, std::move(y)},
                              {h, x.tracked() || r.tracked() ? w.value() : Tensor(), eps});
}

std::array<Var, 2> add_rms_norm_composed(const Var& x, const Var& r, const Var& w, double eps) {
  Var h = add(x, r);
  return {h, rms_norm(h, w, eps)};
}

}  // namespace sinter
