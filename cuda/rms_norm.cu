#include "ops/rms_norm.h"

#include "core/view.h"
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"

namespace sinter::cuda {
namespace {

constexpr std::int64_t kMaxParts = 512;  // shares of dw that are kept before they are added up
constexpr std::int64_t kMaxRowBlocks = 1 << 20;

// r = 1/rms(x) = 1/√(mean(x²) + eps) of one row, by the whole block
template <class T>
__device__ T inverse_rms(const T* x, std::int64_t d, T eps) {
  T squares = 0;
  for (std::int64_t j = threadIdx.x; j < d; j += blockDim.x) squares += x[j] * x[j];
  return 1 / sqrt(block_sum(squares) / T(d) + eps);
}

// h = x + r (where r is not null, else x is h),  y = h / rms(h) ⊙ w;  x, r, h, y [T, d]
template <class T>
__global__ void norm(const T* x, const T* r, const T* w, T* h, T* y, RowSplit split, std::int64_t d, T eps) {
  for (std::int64_t t = split.begin(blockIdx.x); t < split.end(blockIdx.x); ++t) {
    const T* in = x + t * d;
    if (r) {
      for (std::int64_t j = threadIdx.x; j < d; j += blockDim.x) h[t * d + j] = in[j] + r[t * d + j];
      in = h + t * d;  // each thread reads back what it wrote itself
    }
    const T scale = inverse_rms(in, d, eps);
    for (std::int64_t j = threadIdx.x; j < d; j += blockDim.x) y[t * d + j] = in[j] * scale * w[j];
  }
}

template <class T>
struct NormGradient {
  const T *x, *w, *dy, *residual;  // residual may be null, w where dx is
  T *dx, *share;  // each may be null; share [parts, d]: dw of each part
  std::int64_t d;
  T eps;
};

// dx = residual + r·(g − x·mean(g·x)·r²),  share = Σ_t dy ⊙ x·r,  g = dy ⊙ w,  r = 1/rms(x);  x, dy, dx [T, d]
template <class T>
__global__ void norm_backward(NormGradient<T> n, RowSplit split) {
  const std::int64_t first = split.begin(blockIdx.x);
  for (std::int64_t t = first; t < split.end(blockIdx.x); ++t) {
    const T *x = n.x + t * n.d, *dy = n.dy + t * n.d;
    const T r = inverse_rms(x, n.d, n.eps);
    if (n.dx) {
      T dot = 0;
      for (std::int64_t j = threadIdx.x; j < n.d; j += blockDim.x) dot += dy[j] * n.w[j] * x[j];
      const T pull = block_sum(dot) / T(n.d) * r * r;
      for (std::int64_t j = threadIdx.x; j < n.d; j += blockDim.x) {
        const T own = r * (dy[j] * n.w[j] - x[j] * pull);
        n.dx[t * n.d + j] = n.residual ? n.residual[t * n.d + j] + own : own;
      }
    }
    if (n.share) {
      T* const sum = n.share + blockIdx.x * n.d;
      for (std::int64_t j = threadIdx.x; j < n.d; j += blockDim.x) {
        const T own = dy[j] * x[j] * r;
        sum[j] = t == first ? own : sum[j] + own;
      }
    }
  }
}

template <class T>
const T* data_or_null(const Tensor& t) {
  return t ? t.data<T>().data() : nullptr;
}

}  // namespace

void rms_norm(const Tensor& x, const Tensor& w, double eps, Tensor& y) {
  visit_float(x.dtype(), "rms_norm", [&]<class T>() {
    const RowSplit split = split_rows(ConstView(x).rows(), kMaxRowBlocks);
    launch("rms_norm", norm<T>, rows_grid(split, w.numel()), x.data<T>().data(), nullptr, w.data<T>().data(), nullptr,
           y.mutable_data<T>().data(), split, w.numel(), T(eps));
  });
}

void add_rms_norm(const Tensor& x, const Tensor& r, const Tensor& w, double eps, Tensor& h, Tensor& y) {
  visit_float(x.dtype(), "add_rms_norm", [&]<class T>() {
    const RowSplit split = split_rows(ConstView(x).rows(), kMaxRowBlocks);
    launch("add_rms_norm", norm<T>, rows_grid(split, w.numel()), x.data<T>().data(), r.data<T>().data(),
           w.data<T>().data(), h.mutable_data<T>().data(), y.mutable_data<T>().data(), split, w.numel(), T(eps));
  });
}

void rms_norm_backward(const Tensor& x, const Tensor& w, const Tensor& dy, const Tensor& residual, double eps,
                       Tensor& dx, Tensor& dw) {
  visit_float(dy.dtype(), "rms_norm_backward", [&]<class T>() {
    const std::int64_t d = x.shape()[-1];
    const RowSplit split = split_rows(ConstView(x).rows(), dw ? kMaxParts : kMaxRowBlocks);
    Tensor share = dw ? Tensor::empty({split.parts(), d}, dw.dtype(), dw.device()) : Tensor();
    launch("rms_norm_backward", norm_backward<T>, rows_grid(split, d),
           NormGradient<T>{x.data<T>().data(), data_or_null<T>(w), dy.data<T>().data(), data_or_null<T>(residual),
                           dx ? dx.mutable_data<T>().data() : nullptr, share ? share.mutable_data<T>().data() : nullptr,
                           d, T(eps)},
           split);
    if (!dw) return;
    launch("rms_norm_backward", column_sum<T>, column_sum_grid(d), share.data<T>().data(), split.parts(), d,
           dw.mutable_data<T>().data());
  });
}

}  // namespace sinter::cuda
