#include <Eigen/Core>

#include "ops/gemm_tile.h"

namespace sinter {
namespace {

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class M>
using Strided = Eigen::Map<M, Eigen::Unaligned, Eigen::OuterStride<>>;

template <class T>
void product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<T> a, Factor<T> b, T beta, T* c, std::int64_t ldc) {
  const bool ta = a.trans == Trans::yes, tb = b.trans == Trans::yes;
  const Strided<const RowMajor<T>> A(a.data, ta ? k : m, ta ? m : k, Eigen::OuterStride<>(a.stride));
  const Strided<const RowMajor<T>> B(b.data, tb ? n : k, tb ? k : n, Eigen::OuterStride<>(b.stride));
  Strided<RowMajor<T>> C(c, m, n, Eigen::OuterStride<>(ldc));
  if (beta == 0) C.setZero();
  else if (beta != 1) C *= beta;
  if (ta && tb) C.noalias() += A.transpose() * B.transpose();
  else if (ta) C.noalias() += A.transpose() * B;
  else if (tb) C.noalias() += A * B.transpose();
  else C.noalias() += A * B;
}

}  // namespace

void blas_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<float> a, Factor<float> b, float beta,
                  float* c, std::int64_t ldc) {
  product(m, n, k, a, b, beta, c, ldc);
}
void blas_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<double> a, Factor<double> b, double beta,
                  double* c, std::int64_t ldc) {
  product(m, n, k, a, b, beta, c, ldc);
}

}  // namespace sinter
