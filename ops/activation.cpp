#include "ops/activation.h"

#include <cmath>
#include <numbers>

#include "ops/elementwise.h"
#include "ops/operands.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// silu'(x) = σ·(1 + x·(1 − σ))
template <class T>
T silu_slope(T x, T s) {
  return s * (1 + x * (1 - s));
}

void silu_row(double* y, const double* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] * sigmoid(x[i]);
}
void silu_row(float* y, const float* x, std::int64_t n) { cpu_kernels().silu(y, x, n); }

// dx = dy·silu'(x)
void silu_vjp_row(double* dx, const double* x, const double* dy, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) dx[i] = dy[i] * silu_slope(x[i], sigmoid(x[i]));
}
void silu_vjp_row(float* dx, const float* x, const float* dy, std::int64_t n) {
  constexpr std::int64_t kBlock = 256;
  float e[kBlock];
  for (std::int64_t i = 0; i < n; i += kBlock) {
    const std::int64_t m = std::min(kBlock, n - i);
    map_row(
        e, m, [](float v) { return -v; }, x + i);
    cpu_kernels().vexp(e, e, m);
    map_row(
        dx + i, m, [](float v, float g, float q) { return g * silu_slope(v, 1 / (1 + q)); }, x + i, dy + i, e);
  }
}

// Φ(x), without cancellation for negative x.
template <class T>
T normal_cdf(T x) {
  return T(0.5) * std::erfc(-x * T(std::numbers::sqrt2 / 2));
}

// d/dx x·Φ(x) = Φ(x) + x·φ(x)
template <class T>
T gelu_slope(T x) {
  return normal_cdf(x) + x * std::exp(T(-0.5) * x * x) * T(std::numbers::inv_sqrtpi * std::numbers::sqrt2 / 2);
}

void activation_cpu(const Tensor& x, Activation a, Tensor& y) {
  visit_float(x.dtype(), "activation", [&]<class T>() {
    const T* in = x.data<T>().data();
    T* out = y.mutable_data<T>().data();
    parallel_for(x.numel(), kChunk, [&](std::int64_t b, std::int64_t e) {
      const std::int64_t n = e - b;
      switch (a) {
        case Activation::none:
          return map_row(
              out + b, n, [](T v) { return v; }, in + b);
        case Activation::relu:
          return map_row(
              out + b, n, [](T v) { return v <= 0 ? T(0) : v; }, in + b);
        case Activation::gelu:
          return map_row(
              out + b, n, [](T v) { return v * normal_cdf(v); }, in + b);
        case Activation::silu: return silu_row(out + b, in + b, n);
      }
    });
  });
}

void activation_backward_cpu(const Tensor& saved, const Tensor& dy, Activation a, Tensor& dx) {
  visit_float(dy.dtype(), "activation_backward", [&]<class T>() {
    const T *s = saved.data<T>().data(), *g = dy.data<T>().data();
    T* out = dx.mutable_data<T>().data();
    parallel_for(dy.numel(), kChunk, [&](std::int64_t b, std::int64_t e) {
      const std::int64_t n = e - b;
      switch (a) {
        case Activation::none:
          return map_row(
              out + b, n, [](T q) { return q; }, g + b);
        case Activation::relu:
          return map_row(
              out + b, n, [](T y, T q) { return y > 0 ? q : T(0); }, s + b, g + b);
        case Activation::gelu:
          return map_row(
              out + b, n, [](T x, T q) { return q * gelu_slope(x); }, s + b, g + b);
        case Activation::silu: return silu_vjp_row(out + b, s + b, g + b, n);
      }
    });
  });
}

void swiglu_row(double* y, const double* gate, const double* up, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}
void swiglu_row(float* y, const float* gate, const float* up, std::int64_t n) { cpu_kernels().swiglu(y, gate, up, n); }

// dgate = dy ⊙ up ⊙ silu'(gate),  dup = dy ⊙ silu(gate)
void swiglu_vjp_row(double* dgate, double* dup, const double* gate, const double* up, const double* dy,
                    std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double s = sigmoid(gate[i]);
    dgate[i] = dy[i] * up[i] * silu_slope(gate[i], s);
    dup[i] = dy[i] * gate[i] * s;
  }
}
void swiglu_vjp_row(float* dgate, float* dup, const float* gate, const float* up, const float* dy, std::int64_t n) {
  cpu_kernels().swiglu_vjp(dgate, dup, gate, up, dy, n);
}

void swiglu_cpu(const Tensor& gate, const Tensor& up, Tensor& y) {
  visit_float(gate.dtype(), "swiglu", [&]<class T>() {
    const T *a = gate.data<T>().data(), *b = up.data<T>().data();
    T* out = y.mutable_data<T>().data();
    parallel_for(y.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
      swiglu_row(out + begin, a + begin, b + begin, end - begin);
    });
  });
}

void swiglu_backward_cpu(const Tensor& gate, const Tensor& up, const Tensor& dy, Tensor& dgate, Tensor& dup) {
  visit_float(gate.dtype(), "swiglu_backward", [&]<class T>() {
    const T *a = gate.data<T>().data(), *b = up.data<T>().data(), *g = dy.data<T>().data();
    T *da = dgate.mutable_data<T>().data(), *db = dup.mutable_data<T>().data();
    parallel_for(dy.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
      swiglu_vjp_row(da + begin, db + begin, a + begin, b + begin, g + begin, end - begin);
    });
  });
}

template <Activation kind>
struct SavedActivation {
  Tensor saved;
  Cotangents<1> pull(const Tensor& dy) const {
    Tensor dx = empty_like(dy);
    activation_backward_kernel(dy.device(), saved, dy, kind, dx);
    return {dx};
  }
};

struct SiluOp {
  static constexpr std::string_view name = "silu";
  static constexpr std::size_t arity = 1;
  using Saved = SavedActivation<Activation::silu>;
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return s.pull(dy); }
};

struct GeluOp {
  static constexpr std::string_view name = "gelu";
  static constexpr std::size_t arity = 1;
  using Saved = SavedActivation<Activation::gelu>;
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return s.pull(dy); }
};

struct ReluOp {
  static constexpr std::string_view name = "relu";
  static constexpr std::size_t arity = 1;
  using Saved = SavedActivation<Activation::relu>;  // y: what follows often keeps it anyway
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return s.pull(dy); }
};

struct SwigluOp {
  static constexpr std::string_view name = "swiglu";
  static constexpr std::size_t arity = 2;  // gate, up
  struct Saved {
    Tensor gate, up;
  };
  static Cotangents<2> vjp(const Saved& s, const Tensor& dy, Needs<2> n) {
    Cotangents<2> d{empty_like(dy), empty_like(dy)};
    swiglu_backward_kernel(dy.device(), s.gate, s.up, dy, d[0], d[1]);
    for (int i : {0, 1})
      if (!n[i]) d[i] = Tensor();
    return d;
  }
};

Tensor activated(std::string_view op, const Tensor& x, Activation a) {
  require_alike(op, x);
  Tensor y = empty_like(x);
  activation_kernel(x.device(), x, a, y);
  return y;
}

}  // namespace

constinit KernelSlot<void(const Tensor&, Activation, Tensor&)> activation_kernel{"activation", activation_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, Activation, Tensor&)> activation_backward_kernel{
    "activation_backward", activation_backward_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, Tensor&)> swiglu_kernel{"swiglu", swiglu_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, const Tensor&, Tensor&, Tensor&)> swiglu_backward_kernel{
    "swiglu_backward", swiglu_backward_cpu};

Var silu(const Var& x) {
  return record<SiluOp>({x}, activated(SiluOp::name, x.value(), Activation::silu), {x.value()});
}

Var gelu(const Var& x) {
  return record<GeluOp>({x}, activated(GeluOp::name, x.value(), Activation::gelu), {x.value()});
}

Var relu(const Var& x) {
  Tensor y = activated(ReluOp::name, x.value(), Activation::relu);
  return record<ReluOp>({x}, y, {y});
}

Var activate(const Var& x, Activation a) {
  switch (a) {
    case Activation::none: return x;
    case Activation::relu: return relu(x);
    case Activation::gelu: return gelu(x);
    case Activation::silu: return silu(x);
  }
  return x;
}

Var swiglu(const Var& gate, const Var& up) {
  require_alike(SwigluOp::name, gate.value(), up.value());
  require(gate.shape() == up.shape(), ErrorCode::shape, SwigluOp::name, gate.shape(), " and ", up.shape());
  Tensor y = empty_like(gate.value());
  swiglu_kernel(y.device(), gate.value(), up.value(), y);
  return record<SwigluOp>({gate, up}, std::move(y), {gate.value(), up.value()});
}

Var swiglu_composed(const Var& gate, const Var& up) { return mul(silu(gate), up); }

}  // namespace sinter
