#include "ops/gemm.h"

#include <cublas_v2.h>

#include <algorithm>

#include "cuda/kernels.h"
#include "cuda/runtime.h"

namespace sinter::cuda {
namespace {

// cuBLAS counts rows along columns, so a row-major matrix is the transpose of what it sees: it computes
// cᵀ = op(b)ᵀ·op(a)ᵀ, with the factors swapped and their flags as they are.
template <class T>
void product(const ConstView& a, Trans ta, const ConstView& b, Trans tb, const View& c, T beta) {
  const auto flag = [](Trans t) { return t == Trans::no ? CUBLAS_OP_N : CUBLAS_OP_T; };
  const auto ld = [](const auto& v) { return std::max(1, int(v.stride())); };
  const int m = int(c.rows()), n = int(c.cols()), k = int(ta == Trans::no ? a.cols() : a.rows());
  const T one = 1;
  cublasHandle_t handle = Runtime::get().blas();
  cublasStatus_t status;
  if constexpr (std::is_same_v<T, float>)
    status = cublasSgemm(handle, flag(tb), flag(ta), n, m, k, &one, b.data<T>(), ld(b), a.data<T>(), ld(a), &beta,
                         c.data<T>(), ld(c));
  else
    status = cublasDgemm(handle, flag(tb), flag(ta), n, m, k, &one, b.data<T>(), ld(b), a.data<T>(), ld(a), &beta,
                         c.data<T>(), ld(c));
  check_blas(status, "gemm");
  Runtime::get().launched("gemm");
}

}  // namespace

void gemm(const ConstView& a, Trans ta, const ConstView& b, Trans tb, const View& c, const Epilogue& e) {
  const bool inner = (ta == Trans::no ? a.cols() : a.rows()) > 0;
  const bool plain = !e.bias && e.activation == Activation::none;
  visit_float(c.dtype(), "gemm", [&]<class T>() {
    if (inner && plain) return product<T>(a, ta, b, tb, c, T(e.beta));
    if (inner && e.beta == 0) {
      product<T>(a, ta, b, tb, c, T(0));
      return gemm_epilogue(c, e, c);
    }
    Tensor p = Tensor::zeros({c.rows(), c.cols()}, c.dtype(), c.device());
    if (inner) product<T>(a, ta, b, tb, View(p), T(0));
    gemm_epilogue(p, e, c);
  });
}

}  // namespace sinter::cuda
