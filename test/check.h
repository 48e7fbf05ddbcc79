#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "core/random.h"
#include "core/tensor.h"

// What tests share: random tensors, distances, errors by code.
namespace sinter::test {

inline constexpr std::uint64_t kSeed = 7;

// Standard normals, a function of (stream, index).
inline Tensor randn(Shape s, std::uint64_t stream, DType dtype = DType::f64) {
  Tensor t = Tensor::empty(s, dtype);
  const Rng rng{kSeed, stream};
  visit_stored(dtype, "randn", [&]<class T>() {
    const auto out = t.mutable_data<T>();
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = from_float<T>(rng.normal(i));
  });
  return t;
}

inline Tensor ones(Shape s, DType dtype = DType::f64) { return Tensor::full(s, 1, dtype); }

inline double value_at(const Tensor& t, std::int64_t i) {
  return visit_stored(t.dtype(), "value_at", [&]<class T>() { return double(to_float(t.data<T>()[std::size_t(i)])); });
}

// max |a − b|; infinite when the shapes differ, a NaN appears or one of them is empty. The types may differ.
inline double distance(const Tensor& a, const Tensor& b) {
  if (!a || !b || a.shape() != b.shape()) return INFINITY;
  double worst = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double x = value_at(a, i), y = value_at(b, i);
    if (x == y) continue;  // equal infinities too
    const double d = std::abs(x - y);
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
  }
  return worst;
}

// Normalised squared error Σ (a − b)² / Σ b², with b the reference.
inline double nmse(const Tensor& a, const Tensor& b) {
  if (!a || !b || a.shape() != b.shape()) return INFINITY;
  double error = 0, power = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double x = value_at(a, i), y = value_at(b, i);
    error += (x - y) * (x - y);
    power += y * y;
  }
  return error == 0 ? 0 : error / power;
}

// Same shape, type and bytes.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a && b && a.shape() == b.shape() && a.dtype() == b.dtype() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace sinter::test

// The statement throws sinter::Error with ErrorCode::code whose message contains `text`.
#define CHECK_THROWS_TEXT(code_, text, ...)                                                                          \
  do {                                                                                                               \
    try {                                                                                                            \
      static_cast<void>(__VA_ARGS__);                                                                                \
      FAIL_CHECK("no error from " #__VA_ARGS__);                                                                     \
    } catch (const ::sinter::Error& e_) {                                                                            \
      CHECK_MESSAGE(e_.code() == ::sinter::ErrorCode::code_, #__VA_ARGS__ " failed with: ", std::string(e_.what())); \
      CHECK_MESSAGE(std::string(e_.what()).find(text) != std::string::npos, "no \"", text,                           \
                    "\" in: ", std::string(e_.what()));                                                              \
    }                                                                                                                \
  } while (false)

// The statement throws sinter::Error with ErrorCode::code.
#define CHECK_THROWS_CODE(code_, ...) CHECK_THROWS_TEXT(code_, "", __VA_ARGS__)
