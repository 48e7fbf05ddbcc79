#include "ops/rope.h"

#include <cmath>

#include "ops/operands.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

// One row of heads; half = head_dim / 2.
template <class T>
void rotate_row(T* __restrict y, const T* __restrict x, const float* __restrict c, const float* __restrict s,
                std::int64_t heads, std::int64_t half, T sign) {
  for (std::int64_t h = 0; h < heads; ++h, x += 2 * half, y += 2 * half) {
    map_row(
        y, half, [sign](T a, T b, float p, float q) { return a * p - b * (sign * q); }, x, x + half, c, s);
    map_row(
        y + half, half, [sign](T a, T b, float p, float q) { return b * p + a * (sign * q); }, x, x + half, c, s);
  }
}

void rope_cpu(const Tensor& x, const RopeTable& table, std::int64_t heads, bool inverse, Tensor& y) {
  visit_float(x.dtype(), "rope", [&]<class T>() {
    const std::int64_t width = x.shape()[1], half = table.cos.shape()[1];
    const T* in = x.data<T>().data();
    T* out = y.mutable_data<T>().data();
    const float *c = table.cos.data<float>().data(), *s = table.sin.data<float>().data();
    parallel_for(x.shape()[0], row_grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t)
        rotate_row(out + t * width, in + t * width, c + t * half, s + t * half, heads, half, T(inverse ? -1 : 1));
    });
  });
}

Tensor rotated(const Tensor& x, const RopeTable& table, std::int64_t heads, bool inverse) {
  Tensor y = empty_like(x);
  rope_kernel(x.device(), x, table, heads, inverse, y);
  return y;
}

struct RopeOp {
  static constexpr std::string_view name = "rope";
  static constexpr std::size_t arity = 1;
  struct Saved {
    RopeTable table;
    std::int64_t heads;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return {rotated(dy, s.table, s.heads, true)}; }
};

}  // namespace

constinit KernelSlot<void(const Tensor&, const RopeTable&, std::int64_t, bool, Tensor&)> rope_kernel{"rope", rope_cpu};

RopeTable make_rope_table(std::span<const float> inv_freq, std::span<const std::int32_t> positions) {
  const auto rows = std::int64_t(positions.size()), half = std::int64_t(inv_freq.size());
  RopeTable table{Tensor::empty({rows, half}, DType::f32), Tensor::empty({rows, half}, DType::f32)};
  float *c = table.cos.mutable_data<float>().data(), *s = table.sin.mutable_data<float>().data();
  parallel_for(rows, std::max<std::int64_t>(1, row_grain(half) / 8), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t)
      for (std::int64_t j = 0; j < half; ++j) {
        const float angle = float(positions[std::size_t(t)]) * inv_freq[std::size_t(j)];
        c[t * half + j] = std::cos(angle);
        s[t * half + j] = std::sin(angle);
      }
  });
  return table;
}

Var rope(const Var& x, const RopeTable& table, std::int64_t heads) {
  require_alike(RopeOp::name, x.value());
  require_rank(RopeOp::name, "x", x.value(), 2);
  require_rank(RopeOp::name, "the table", table.cos, 2);
  const Shape& angles = table.cos.shape();
  require(table.sin && table.sin.shape() == angles, ErrorCode::shape, RopeOp::name, "cos ", angles, " and sin ",
          table.sin.shape());
  require(heads > 0 && x.shape() == Shape{angles[0], heads * 2 * angles[1]}, ErrorCode::shape, RopeOp::name, "x ",
          x.shape(), " for ", heads, " heads with angles ", angles);
  require(table.cos.device() == x.value().device(), ErrorCode::device, RopeOp::name, "the table is on ",
          table.cos.device());
  return record<RopeOp>({x}, rotated(x.value(), table, heads, false), {table, heads});
}

}  // namespace sinter
