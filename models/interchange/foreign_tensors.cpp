#include "models/interchange/foreign_tensors.h"

#include <algorithm>
#include <cmath>

#include "core/basic_kernels.h"
#include "models/interchange/grid_linear.h"

namespace sinter {

void refuse_tensor(const Checkpoint& files, const std::string& name, const std::string& expected) {
  const Tensor t = files.tensor(name);
  fail(ErrorCode::input, files.file_of(name), "tensor ", name, " is ", info(t.dtype()).name, " ", t.shape(),
       ", expected ", expected);
}

Tensor words_of(const Checkpoint& files, const std::string& name) {
  Tensor t = files.tensor(name);
  if (t.dtype() != DType::i32 || t.shape().rank() != 2 || t.numel() == 0) refuse_tensor(files, name, "an i32 matrix");
  return t;
}

Tensor words_of(const Checkpoint& files, const std::string& name, Shape shape) {
  Tensor t = files.tensor(name);
  std::ostringstream expected;
  expected << "i32 " << shape;
  if (t.dtype() != DType::i32 || t.shape() != shape) refuse_tensor(files, name, expected.str());
  return t;
}

Tensor scales_of(const Checkpoint& files, const std::string& name, std::int64_t out, std::int64_t groups,
                 bool transposed) {
  const Tensor t = files.tensor(name);
  const Shape shape = transposed ? Shape{groups, out} : Shape{out, groups};
  std::ostringstream expected;
  expected << "floats " << shape;
  if (!is_float(t.dtype()) || t.shape() != shape) refuse_tensor(files, name, expected.str());
  const Tensor stored = cast(t, DType::f32);
  const auto from = stored.data<float>();
  for (const float s : from)
    require(std::isfinite(s), ErrorCode::input, files.file_of(name), "tensor ", name, " holds ", s);
  if (!transposed) return grid_scale(t);
  Tensor turned = Tensor::empty({out, groups}, DType::f32);
  const auto to = turned.mutable_data<float>();
  for (std::int64_t g = 0; g < groups; ++g)
    for (std::int64_t i = 0; i < out; ++i) to[std::size_t(i * groups + g)] = from[std::size_t(g * out + i)];
  return grid_scale(turned);
}

std::vector<std::int32_t> group_index_of(const Checkpoint& files, const std::string& name, std::int64_t columns,
                                         std::int64_t groups) {
  if (!files.has(name)) return {};
  const Tensor t = files.tensor(name);
  const bool wide = t.dtype() == DType::i64;
  std::ostringstream expected;
  expected << "i32 " << Shape{columns};
  if ((!wide && t.dtype() != DType::i32) || t.shape() != Shape{columns}) refuse_tensor(files, name, expected.str());
  const auto value = [&](std::int64_t j) -> std::int64_t {
    return wide ? t.data<std::int64_t>()[std::size_t(j)] : t.data<std::int32_t>()[std::size_t(j)];
  };
  std::vector<std::int32_t> group_of(std::size_t(columns), 0);
  std::int64_t unset = 0;
  for (std::int64_t j = 0; j < columns; ++j) unset += value(j) == -1;
  if (unset == columns) return {};
  for (std::int64_t j = 0; j < columns; ++j) {
    require(0 <= value(j) && value(j) < groups, ErrorCode::input, files.file_of(name), "tensor ", name, " holds group ",
            value(j), " at place ", j, ", expected 0 to ", groups - 1);
    group_of[std::size_t(j)] = std::int32_t(value(j));
  }
  return group_of;
}

}  // namespace sinter
