#include "ops/softmax.h"

#include <cmath>

#include "core/view.h"
#include "ops/operands.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

// y = exp(x − max(x)); returns Σ y
double exp_row(double* y, const double* x, std::int64_t n) {
  const double m = *std::max_element(x, x + n);
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += y[i] = std::exp(x[i] - m);
  return sum;
}
float exp_row(float* y, const float* x, std::int64_t n) {
  return cpu_kernels().exp_sum(y, x, 1, cpu_kernels().max(x, n), n);
}

void softmax_cpu(const Tensor& x, Tensor& y) {
  visit_float(x.dtype(), "softmax", [&]<class T>() {
    const std::int64_t n = x.shape()[-1];
    const T* in = x.data<T>().data();
    T* out = y.mutable_data<T>().data();
    parallel_for(ConstView(x).rows(), row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t at = begin * n; at < end * n; at += n)
        row_scale(out + at, 1 / exp_row(out + at, in + at, n), n);
    });
  });
}

// dx = y ⊙ (dy − ⟨y, dy⟩);  one distribution per row
void softmax_backward_cpu(const Tensor& y, const Tensor& dy, Tensor& dx) {
  visit_float(y.dtype(), "softmax_backward", [&]<class T>() {
    const std::int64_t n = y.shape()[-1];
    const T *p = y.data<T>().data(), *g = dy.data<T>().data();
    T* out = dx.mutable_data<T>().data();
    parallel_for(ConstView(y).rows(), row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t at = begin * n; at < end * n; at += n) {
        const T mean = row_dot(p + at, g + at, n);
        map_row(
            out + at, n, [mean](T a, T b) { return a * (b - mean); }, p + at, g + at);
      }
    });
  });
}

struct SoftmaxOp {
  static constexpr std::string_view name = "softmax";
  static constexpr std::size_t arity = 1;
  struct Saved {
    Tensor y;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) {
    Tensor dx = empty_like(dy);
    softmax_backward_kernel(dy.device(), s.y, dy, dx);
    return {dx};
  }
};

}  // namespace

constinit KernelSlot<void(const Tensor&, Tensor&)> softmax_kernel{"softmax", softmax_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, Tensor&)> softmax_backward_kernel{"softmax_backward",
                                                                                          softmax_backward_cpu};

Var softmax(const Var& x) {
  require_alike(SoftmaxOp::name, x.value());
  require(x.shape().rank() > 0, ErrorCode::shape, SoftmaxOp::name, "needs a last dimension");
  Tensor y = empty_like(x.value());
  softmax_kernel(y.device(), x.value(), y);
  return record<SoftmaxOp>({x}, y, {y});
}

}  // namespace sinter
