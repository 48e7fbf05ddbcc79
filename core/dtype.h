#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "core/half.h"

namespace sinter {

enum class DType : std::uint8_t { f64, f32, f16, bf16, i64, i32, u8, i8 };

struct DTypeInfo {
  std::string_view name;
  std::size_t size;  // bytes
};
inline constexpr DTypeInfo kDTypes[] = {{"f64", 8}, {"f32", 4}, {"f16", 2}, {"bf16", 2},
                                        {"i64", 8}, {"i32", 4}, {"u8", 1},  {"i8", 1}};
constexpr const DTypeInfo& info(DType d) { return kDTypes[static_cast<int>(d)]; }
constexpr bool is_float(DType d) { return d <= DType::bf16; }

template <class T>
inline constexpr DType dtype_of = [] {
  static_assert(sizeof(T) == 0, "not a tensor element type");
  return DType::f32;
}();
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<f16> = DType::f16;
template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;
template <>
inline constexpr DType dtype_of<std::int8_t> = DType::i8;

// The types arithmetic happens in: visit_float(x.dtype(), "softmax", [&]<class T>() { softmax_cpu<T>(x, y); });
template <class F>
decltype(auto) visit_float(DType d, std::string_view where, F&& f) {
  switch (d) {
    case DType::f64: return f.template operator()<double>();
    case DType::f32: return f.template operator()<float>();
    default: fail(ErrorCode::dtype, where, "needs f32 or f64, got ", info(d).name);
  }
}

// The types a float may be stored in; read elements with to_float().
template <class F>
decltype(auto) visit_stored(DType d, std::string_view where, F&& f) {
  switch (d) {
    case DType::f64: return f.template operator()<double>();
    case DType::f32: return f.template operator()<float>();
    case DType::f16: return f.template operator()<f16>();
    case DType::bf16: return f.template operator()<bf16>();
    default: fail(ErrorCode::dtype, where, "needs a float type, got ", info(d).name);
  }
}

}  // namespace sinter
