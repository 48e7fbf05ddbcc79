#include "ops/spp.h"

#include <algorithm>

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "ops/operands.h"
#include "ops/strip_product.h"

namespace sinter {
namespace {

constexpr std::int64_t kColumns = 256, kRows = 16;  // of one parallel chunk
constexpr std::int64_t kStrip = std::int64_t{1} << 19;  // values of W expanded at a time

std::int64_t rows_per_factor(const FrozenWeight& w, const Tensor& alpha) { return w.out_features() / alpha.shape()[0]; }
Rows group(const FrozenWeight& w, const Tensor& alpha, std::int64_t j) {
  const std::int64_t q = rows_per_factor(w, alpha);
  return {j * q, (j + 1) * q};
}

void scale_columns_cpu(const ConstView& x, const Tensor& a, std::int64_t j, double gain, bool add, const View& y) {
  visit_float(x.dtype(), "scale_columns", [&]<class T>() {
    const T* const factor = a.data<T>().data() + j * x.cols();
    parallel_for(x.rows(), kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const auto in = x.row<T>(t);
        const auto out = y.row<T>(t);
        for (std::size_t c = 0; c < in.size(); ++c) {
          const T v = T(gain) * in[c] * factor[c];
          out[c] = add ? out[c] + v : v;
        }
      }
    });
  });
}

void column_dot_cpu(const ConstView& a, const ConstView& b, double gain, std::int64_t j, Tensor& out) {
  visit_float(a.dtype(), "column_dot", [&]<class T>() {
    T* const to = out.mutable_data<T>().data() + j * a.cols();
    parallel_for(a.cols(), kColumns, [&](std::int64_t begin, std::int64_t end) {
      std::vector<T> sum(std::size_t(end - begin), T(0));
      for (std::int64_t t = 0; t < a.rows(); ++t) {
        const T *const x = a.row<T>(t).data() + begin, *const y = b.row<T>(t).data() + begin;
        for (std::size_t c = 0; c < sum.size(); ++c) sum[c] += x[c] * y[c];
      }
      for (std::size_t c = 0; c < sum.size(); ++c) to[begin + std::int64_t(c)] = T(gain) * sum[c];
    });
  });
}

void spp_strip_cpu(Tensor& w, std::int64_t first, const Tensor& alpha, const Tensor& beta, double s) {
  visit_float(w.dtype(), "spp_strip", [&]<class T>() {
    const std::int64_t n = w.shape()[1], q = beta.numel() / alpha.shape()[0];
    const T *const A = alpha.data<T>().data(), *const B = beta.data<T>().data();
    T* const W = w.mutable_data<T>().data();
    parallel_for(w.shape()[0], kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T b = T(s) * B[first + i], *const a = A + (first + i) / q * n;
        for (std::int64_t c = 0; c < n; ++c) {
          const T w = W[i * n + c], d = w * (a[c] * b);
          W[i * n + c] = d == 0 ? w : w + d;  // a zero keeps its sign
        }
      }
    });
  });
}

void spp_contract_cpu(const Tensor& w, const Tensor& d, std::int64_t first, const Tensor& alpha, const Tensor& beta,
                      double s, Tensor& dalpha, Tensor& dbeta) {
  visit_float(w.dtype(), "spp_contract", [&]<class T>() {
    const std::int64_t k = w.shape()[0], n = w.shape()[1], q = beta.numel() / alpha.shape()[0];
    const T *const W = w.data<T>().data(), *const D = d.data<T>().data();
    const T *const A = alpha.data<T>().data(), *const B = beta.data<T>().data();
    T *const dA = dalpha.mutable_data<T>().data(), *const dB = dbeta.mutable_data<T>().data();
    parallel_for(n, kColumns, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = 0; i < k; ++i) {
        T* const sum = dA + (first + i) / q * n;
        const T b = T(s) * B[first + i];
        for (std::int64_t c = begin; c < end; ++c) sum[c] += b * (W[i * n + c] * D[i * n + c]);
      }
    });
    parallel_for(k, kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T* const a = A + (first + i) / q * n;
        T sum = 0;
        for (std::int64_t c = 0; c < n; ++c) sum += a[c] * (W[i * n + c] * D[i * n + c]);
        dB[first + i] = T(s) * sum;
      }
    });
  });
}

// x ∘ α_j
Tensor scaled_by(const Tensor& x, const Tensor& alpha, std::int64_t j) {
  Tensor y = empty_like(x);
  scale_columns_kernel(x.device(), x, alpha, j, 1, false, y);
  return y;
}

// dZ = s·dy ∘ β;  dβ = s·Σ_t dy ∘ Z;  P_j = dZ_R W_R;  dα_j = Σ_t x ∘ P_j;  dx = Σ_j α_j ∘ P_j
struct SppOp {
  static constexpr std::string_view name = "spp";
  static constexpr std::size_t arity = 3;  // x, α, β
  struct Saved {
    FrozenWeightPtr w;
    Tensor x, alpha, beta, z;
    double s;
    Compute compute;
  };

  static Cotangents<3> vjp(const Saved& v, const Tensor& dy, Needs<3> needs) {
    Cotangents<3> d;
    const Device device = dy.device();
    if (needs[2]) {
      d[2] = empty_like(v.beta);
      column_dot_kernel(device, dy, v.z, v.s, 0, d[2]);
    }
    if (!needs[0] && !needs[1]) return d;
    if (needs[0]) d[0] = Tensor::zeros(v.x.shape(), v.x.dtype(), device);
    if (needs[1]) d[1] = empty_like(v.alpha);
    Tensor dz = empty_like(dy), p = empty_like(v.x);
    scale_columns_kernel(device, dy, v.beta, 0, v.s, false, dz);
    for (std::int64_t j = 0; j < v.alpha.shape()[0]; ++j) {
      const Rows rows = group(*v.w, v.alpha, j);
      v.w->apply_transposed(ConstView(dz).col_range(rows.begin, rows.end), rows, p, 0, v.compute);
      if (needs[1]) column_dot_kernel(device, v.x, p, 1, j, d[1]);
      if (needs[0]) scale_columns_kernel(device, p, v.alpha, j, 1, true, d[0]);
    }
    return d;
  }
};

// What one strip after the other does with rows begin.. of W.
template <class F>
void for_strips(const FrozenWeight& w, DType dtype, F&& f) {
  const std::int64_t m = w.out_features(), rows = std::clamp<std::int64_t>(kStrip / w.in_features(), 16, 256);
  for (std::int64_t b = 0; b < m; b += rows) f(b, w.dense({b, std::min(m, b + rows)}, dtype));
}

// Rows first.. of W + s·W', from those of W (which may still be the weight's own).
Tensor scaled_strip(Tensor w, std::int64_t first, const Tensor& alpha, const Tensor& beta, double s, Compute c) {
  if (!w.sole_owner()) w = w.clone();
  spp_strip_kernel(w.device(), w, first, alpha, beta, s);
  return c == Compute::bf16 ? rounded_bf16(w) : w;
}

Tensor factor(const Tensor& x, Compute c) { return c == Compute::bf16 ? rounded_bf16(x) : x; }

// With W* = W + s·W' and D = dyᵀ·x:  dx = dy·W*;  dα and dβ from D ∘ W, strip by strip
struct SppLinearOp {
  static constexpr std::string_view name = "spp_linear";
  static constexpr std::size_t arity = 3;  // x, α, β
  struct Saved {
    FrozenWeightPtr w;
    Tensor x, alpha, beta;
    double s;
    Compute compute;
  };

  static Cotangents<3> vjp(const Saved& v, const Tensor& dy, Needs<3> needs) {
    const Tensor x = factor(v.x, v.compute), g = factor(dy, v.compute);
    Tensor dx, dalpha = Tensor::zeros(v.alpha.shape(), dy.dtype(), dy.device()), dbeta = empty_like(v.beta);
    if (needs[0]) dx = empty_like(v.x);
    for_strips(*v.w, dy.dtype(), [&](std::int64_t first, Tensor w) {
      const ConstView part = ConstView(g).col_range(first, first + w.shape()[0]);
      if (needs[1] || needs[2]) {
        const Tensor d = matmul(part, Trans::yes, x, Trans::no);
        spp_contract_kernel(dy.device(), w, d, first, v.alpha, v.beta, v.s, dalpha, dbeta);
      }
      if (!needs[0]) return;
      const Tensor scaled = scaled_strip(std::move(w), first, v.alpha, v.beta, v.s, v.compute);
      gemm(part, Trans::no, scaled, Trans::no, dx, {.beta = first > 0 ? 1.f : 0.f});
    });
    return {std::move(dx), needs[1] ? std::move(dalpha) : Tensor(), needs[2] ? std::move(dbeta) : Tensor()};
  }
};

bool is_zero(const Tensor& t) {
  return visit_float(t.dtype(), "is_zero", [&]<class T>() {
    return std::ranges::all_of(t.to(Device{}).data<T>(), [](T v) { return v == 0; });
  });
}

Tensor product(const Tensor& x, const FrozenWeight& w, const Tensor& bias, const Tensor& alpha, const Tensor& beta,
               double s, Compute c) {
  if (is_zero(beta)) return apply(w, x, {.bias = bias}, c);
  Tensor y = Tensor::empty({x.shape()[0], w.out_features()}, x.dtype(), x.device());
  const Tensor rounded = factor(x, c);
  for_strips(w, x.dtype(), [&](std::int64_t first, Tensor strip) {
    const std::int64_t end = first + strip.shape()[0];
    gemm(rounded, Trans::no, scaled_strip(std::move(strip), first, alpha, beta, s, c), Trans::yes,
         View(y).col_range(first, end), {.bias = bias ? bias.rows(first, end) : Tensor()});
  });
  return y;
}

}  // namespace

constinit KernelSlot<void(const ConstView&, const Tensor&, std::int64_t, double, bool, const View&)>
    scale_columns_kernel{"scale_columns", scale_columns_cpu};
constinit KernelSlot<void(const ConstView&, const ConstView&, double, std::int64_t, Tensor&)> column_dot_kernel{
    "column_dot", column_dot_cpu};
constinit KernelSlot<void(Tensor&, std::int64_t, const Tensor&, const Tensor&, double)> spp_strip_kernel{"spp_strip",
                                                                                                         spp_strip_cpu};
constinit KernelSlot<void(const Tensor&, const Tensor&, std::int64_t, const Tensor&, const Tensor&, double, Tensor&,
                          Tensor&)>
    spp_contract_kernel{"spp_contract", spp_contract_cpu};

void check_spp(std::string_view where, const FrozenWeight& w, const Tensor& alpha, const Tensor& beta) {
  require_rank(where, "alpha", alpha, 2);
  const std::int64_t m = w.out_features(), n = w.in_features(), r = alpha.shape()[0];
  require(alpha.shape()[1] == n && beta.shape() == Shape{m}, ErrorCode::shape, where, "factors ", alpha.shape(),
          " and ", beta.shape(), " for a weight ", Shape{m, n});
  require(r > 0 && m % r == 0, ErrorCode::usage, where, "rank ", r, " does not divide the ", m, " rows of the weight");
}

Var spp(const Var& x, FrozenWeightPtr w, const Var& alpha, const Var& beta, double s, Compute compute) {
  require_alike(SppOp::name, x.value(), alpha.value(), beta.value());
  check_spp(SppOp::name, *w, alpha.value(), beta.value());
  const Tensor &X = x.value(), &A = alpha.value();
  Tensor z = Tensor::empty({X.shape()[0], w->out_features()}, X.dtype(), X.device()), y = empty_like(z);
  for (std::int64_t j = 0; j < A.shape()[0]; ++j) {
    const Rows rows = group(*w, A, j);
    w->apply(scaled_by(X, A, j), rows, View(z).col_range(rows.begin, rows.end), {}, compute);
  }
  scale_columns_kernel(X.device(), z, beta.value(), 0, s, false, y);
  return record<SppOp>({x, alpha, beta}, std::move(y),
                       {std::move(w), X, A, beta.value(), beta.tracked() ? std::move(z) : Tensor(), s, compute});
}

Var spp_linear(const Var& x, FrozenWeightPtr w, Tensor bias, const Var& alpha, const Var& beta, double s,
               Compute compute) {
  require_alike(SppLinearOp::name, x.value(), alpha.value(), beta.value());
  check_spp(SppLinearOp::name, *w, alpha.value(), beta.value());
  Tensor y = product(x.value(), *w, bias, alpha.value(), beta.value(), s, compute);
  return record<SppLinearOp>({x, alpha, beta}, std::move(y),
                             {std::move(w), x.value(), alpha.value(), beta.value(), s, compute});
}

}  // namespace sinter
