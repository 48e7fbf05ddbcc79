#pragma once
#include <string_view>

#include "core/tensor.h"

// Checks that ops share; `op` is the name that the message carries.
namespace sinter {

inline void require_rank(std::string_view op, std::string_view what, const Tensor& x, int rank) {
  require(bool(x), ErrorCode::shape, op, what, " is empty");
  require(x.shape().rank() == rank, ErrorCode::shape, op, what, " needs rank ", rank, ", got ", x.shape());
}

// One float type, one device, and nothing empty.
template <class... More>
void require_alike(std::string_view op, const Tensor& x, const More&... more) {
  const auto check = [&](const Tensor& y) {
    require(bool(y), ErrorCode::shape, op, "an operand is empty");
    require(x.dtype() == y.dtype(), ErrorCode::dtype, op, "operands are ", info(x.dtype()).name, " and ",
            info(y.dtype()).name);
    require(x.device() == y.device(), ErrorCode::device, op, "operands on ", x.device(), " and ", y.device());
  };
  check(x);
  require(x.dtype() == DType::f32 || x.dtype() == DType::f64, ErrorCode::dtype, op, "needs f32 or f64, got ",
          info(x.dtype()).name);
  (check(more), ...);
}

// A vector [d] beside rows of d elements.
inline void require_row_vector(std::string_view op, std::string_view what, const Tensor& v, const Tensor& x) {
  require_alike(op, x, v);
  require(x.shape().rank() > 0 && v.shape() == Shape{x.shape()[-1]}, ErrorCode::shape, op, what, " ", v.shape(),
          " for rows of ", x.shape());
}

inline Tensor empty_like(const Tensor& x) { return Tensor::empty(x.shape(), x.dtype(), x.device()); }

}  // namespace sinter
