#include "ops/code_stream.h"

#include <cmath>

namespace sinter {

void check_part(const Tensor& t, DType type, Shape shape, std::string_view where, std::string_view name) {
  require(t && t.dtype() == type && t.shape() == shape, ErrorCode::input, where, "tensor \"", name, "\" is ",
          t ? info(t.dtype()).name : "missing", " ", t.shape(), ", expected ", info(type).name, " ", shape);
}

void check_grid(const Tensor& scale, const Tensor& zero, Shape shape, int bits, std::string_view where) {
  check_part(scale, scale && scale.dtype() == DType::f16 ? DType::f16 : DType::f32, shape, where, "scale");
  check_part(zero, DType::u8, shape, where, "zero");
  const Scales s(scale);
  for (std::int64_t i = 0; i < scale.numel(); ++i)
    require(std::isfinite(s[i]), ErrorCode::input, where, "tensor \"scale\" holds ", s[i]);
  for (const unsigned z : zero.data<std::uint8_t>())
    require(z < 1u << bits, ErrorCode::input, where, "tensor \"zero\" holds ", z, ", beyond ", bits, " bits");
}

}  // namespace sinter
