#pragma once
#include <span>

#include "ops/gemm.h"

namespace sinter {

// A factor of a product by pointer: op(data), `stride` elements from stored row to stored row.
template <class T>
struct Factor {
  const T* data;
  std::int64_t stride;
  Trans trans = Trans::no;
};

// c = op(a)·op(b) + beta·c on this thread; op(a) [m, k], op(b) [k, n]. Defined by gemm_openblas.cpp or gemm_eigen.cpp.
void blas_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<float> a, Factor<float> b, float beta,
                  float* c, std::int64_t ldc);
void blas_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<double> a, Factor<double> b, double beta,
                  double* c, std::int64_t ldc);

// Up to here an f32 product of few rows reads the larger factor straight from memory instead of packing it.
inline constexpr std::int64_t kFewRows = 32;
// Columns that a thread takes then, when the product runs down the rows of the larger factor: a page of each row.
inline constexpr std::int64_t kFewRowsCols = 1024;

// The part of an Epilogue that meets one tile: bias is that of the tile's columns, or empty.
template <class T>
struct TileEpilogue {
  std::span<const T> bias{};
  Activation activation = Activation::none;
  T beta = 0;
};
template <class T>
TileEpilogue<T> tile_epilogue(const Epilogue& e, std::int64_t col, std::int64_t cols) {
  const auto bias = e.bias ? e.bias.data<T>().subspan(std::size_t(col), std::size_t(cols)) : std::span<const T>();
  return {bias, e.activation, T(e.beta)};
}

// c *= beta, where a beta of 0 does not read c.
void start_tile(std::int64_t m, std::int64_t n, float* c, std::int64_t ldc, float beta);

// c = beta·c + act(p + bias) for one tile [m, n]; p is used up.
template <class T>
void merge_tile(std::int64_t m, std::int64_t n, T* p, std::int64_t ldp, T* c, std::int64_t ldc,
                const TileEpilogue<T>& e);

// c = beta·c + act(op(a)·op(b) + bias) for one tile [m, n], on this thread.
template <class T>
void tile_product(std::int64_t m, std::int64_t n, std::int64_t k, Factor<T> a, Factor<T> b, T* c, std::int64_t ldc,
                  const TileEpilogue<T>& e);

}  // namespace sinter
