#include "ops/elementwise.h"

#include "core/view.h"
#include "ops/operands.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

void add_cpu(const Tensor& a, const Tensor& b, Tensor& y) {
  visit_float(y.dtype(), "add", [&]<class T>() {
    map_all<T>(
        y, [](T p, T q) { return p + q; }, a, b);
  });
}

void mul_cpu(const Tensor& a, const Tensor& b, Tensor& y) {
  visit_float(y.dtype(), "mul", [&]<class T>() {
    map_all<T>(
        y, [](T p, T q) { return p * q; }, a, b);
  });
}

void scale_cpu(const Tensor& x, double s, Tensor& y) {
  visit_float(y.dtype(), "scale", [&]<class T>() {
    map_all<T>(
        y, [s = T(s)](T v) { return s * v; }, x);
  });
}

void add_bias_cpu(const Tensor& x, const Tensor& b, Tensor& y) {
  visit_float(y.dtype(), "add_bias", [&]<class T>() {
    const std::int64_t d = b.numel();
    const T *in = x.data<T>().data(), *bias = b.data<T>().data();
    T* out = y.mutable_data<T>().data();
    parallel_for(ConstView(x).rows(), row_grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t)
        map_row(
            out + t * d, d, [](T p, T q) { return p + q; }, in + t * d, bias);
    });
  });
}

void bias_grad_cpu(const Tensor& dy, Tensor& db) {
  visit_float(dy.dtype(), "bias_grad", [&]<class T>() {
    const std::int64_t d = db.numel();
    const T* g = dy.data<T>().data();
    rows_with_sum<T>(ConstView(dy).rows(), d, db.mutable_data<T>(), [&](std::int64_t begin, std::int64_t end, T* sum) {
      for (std::int64_t t = begin; t < end; ++t) row_add(sum, g + t * d, d);
    });
  });
}

Tensor product(const Tensor& a, const Tensor& b) {
  Tensor y = empty_like(a);
  mul_kernel(a.device(), a, b, y);
  return y;
}

Tensor scaled(const Tensor& x, double s) {
  Tensor y = empty_like(x);
  scale_kernel(x.device(), x, s, y);
  return y;
}

// y = a + b:  da = db = dy
struct AddOp {
  static constexpr std::string_view name = "add";
  static constexpr std::size_t arity = 2;
  struct Saved {};
  static Cotangents<2> vjp(const Saved&, const Tensor& dy, Needs<2> n) {
    return {n[0] ? dy : Tensor(), n[1] ? dy : Tensor()};
  }
};

// y = a ⊙ b:  da = dy ⊙ b,  db = dy ⊙ a
struct MulOp {
  static constexpr std::string_view name = "mul";
  static constexpr std::size_t arity = 2;
  struct Saved {
    Tensor a, b;  // each only where the other needs it
  };
  static Cotangents<2> vjp(const Saved& s, const Tensor& dy, Needs<2> n) {
    return {n[0] ? product(dy, s.b) : Tensor(), n[1] ? product(dy, s.a) : Tensor()};
  }
};

// y = s·x:  dx = s·dy
struct ScaleOp {
  static constexpr std::string_view name = "scale";
  static constexpr std::size_t arity = 1;
  struct Saved {
    double s;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return {scaled(dy, s.s)}; }
};

// y = x + 1·bᵀ:  dx = dy,  db = Σ_t dy[t]
struct AddBiasOp {
  static constexpr std::string_view name = "add_bias";
  static constexpr std::size_t arity = 2;  // x, b
  struct Saved {};
  static Cotangents<2> vjp(const Saved&, const Tensor& dy, Needs<2> n) {
    Tensor db;
    if (n[1]) {
      db = Tensor::empty({dy.shape()[-1]}, dy.dtype(), dy.device());
      bias_grad_kernel(dy.device(), dy, db);
    }
    return {n[0] ? dy : Tensor(), db};
  }
};

void require_same_shape(std::string_view op, const Var& a, const Var& b) {
  require_alike(op, a.value(), b.value());
  require(a.shape() == b.shape(), ErrorCode::shape, op, a.shape(), " and ", b.shape());
}

}  // namespace

constinit KernelSlot<void(const Tensor&, const Tensor&, Tensor&)> add_kernel{"add", add_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, Tensor&)> mul_kernel{"mul", mul_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, Tensor&)> add_bias_kernel{"add_bias", add_bias_cpu};
constinit KernelSlot<void(const Tensor&, double, Tensor&)> scale_kernel{"scale", scale_cpu};
constinit KernelSlot<void(const Tensor&, Tensor&)> bias_grad_kernel{"bias_grad", bias_grad_cpu};

Var add(const Var& a, const Var& b) {
  require_same_shape(AddOp::name, a, b);
  Tensor y = empty_like(a.value());
  add_kernel(y.device(), a.value(), b.value(), y);
  return record<AddOp>({a, b}, std::move(y), {});
}

Var mul(const Var& a, const Var& b) {
  require_same_shape(MulOp::name, a, b);
  return record<MulOp>({a, b}, product(a.value(), b.value()),
                       {b.tracked() ? a.value() : Tensor(), a.tracked() ? b.value() : Tensor()});
}

Var scale(const Var& x, double s) {
  require_alike(ScaleOp::name, x.value());
  return record<ScaleOp>({x}, scaled(x.value(), s), {s});
}

Var add_bias(const Var& x, const Var& b) {
  require_row_vector(AddBiasOp::name, "bias", b.value(), x.value());
  Tensor y = empty_like(x.value());
  add_bias_kernel(y.device(), x.value(), b.value(), y);
  return record<AddBiasOp>({x, b}, std::move(y), {});
}

}  // namespace sinter
