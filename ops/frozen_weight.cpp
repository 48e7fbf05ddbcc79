#include "ops/frozen_weight.h"

namespace sinter {

void FrozenWeight::check(std::string_view where, const ConstView& wide, const ConstView& narrow, Rows r) const {
  require(0 <= r.begin && r.begin <= r.end && r.end <= out_features(), ErrorCode::shape, where, "rows ", r.begin, "..",
          r.end, " of ", out_features());
  require(wide.cols() == in_features() && narrow.cols() == r.size() && wide.rows() == narrow.rows(), ErrorCode::shape,
          where, "W ", Shape{r.size(), in_features()}, " with ", Shape{wide.rows(), wide.cols()}, " and ",
          Shape{narrow.rows(), narrow.cols()});
  require(wide.dtype() == narrow.dtype() && (wide.dtype() == DType::f32 || wide.dtype() == DType::f64),
          ErrorCode::dtype, where, "needs f32 or f64 on both sides, got ", info(wide.dtype()).name, " and ",
          info(narrow.dtype()).name);
  require(wide.device() == narrow.device(), ErrorCode::device, where, wide.device(), " with ", narrow.device());
}

void FrozenWeight::check(std::string_view where, const View& y, const Epilogue& e) {
  require(!e.bias || (e.bias.numel() == y.cols() && e.bias.dtype() == y.dtype()), ErrorCode::shape, where, "bias ",
          e.bias.shape(), " of type ", info(e.bias.dtype()).name, " for ", y.cols(), " columns of ",
          info(y.dtype()).name);
}

void FrozenWeight::check(std::span<const std::int32_t> rows) const {
  for (const auto i : rows)
    require(0 <= i && i < out_features(), ErrorCode::shape, "gather", "row ", i, " of ", out_features());
}

std::size_t stored_bytes(const FrozenWeight& w) {
  std::size_t total = 0;
  for (const auto& [name, part] : w.pack().parts) total += part.bytes();
  return total;
}

Tensor apply(const FrozenWeight& w, const ConstView& x, const Epilogue& e, Compute c) {
  require(e.beta == 0, ErrorCode::unsupported, "apply", "beta needs an output to add to");
  Tensor y = Tensor::empty({x.rows(), w.out_features()}, x.dtype(), x.device());
  w.apply(x, w.all(), y, e, c);
  return y;
}

Tensor apply_transposed(const FrozenWeight& w, const ConstView& dy, Compute c) {
  Tensor dx = Tensor::empty({dy.rows(), w.in_features()}, dy.dtype(), dy.device());
  w.apply_transposed(dy, w.all(), dx, 0, c);
  return dx;
}

}  // namespace sinter
