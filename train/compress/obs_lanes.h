#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "ops/isa/kernels.h"
#include "ops/transpose.h"
#include "train/compress/grid.h"

// The inner loops of the OBS sweep (obs.cpp): a column of kLanes rows of a matrix lies side by side in memory, so that
// whatever happens to one weight happens to all lanes at once.
namespace sinter::lanes {

inline constexpr std::int64_t kLanes = 64;
template <class T>
using Lanes = std::array<T, std::size_t(kLanes)>;

// Columns side by side -> rows of a matrix and back: lane r of column c is to[r·stride + c].
template <class A, class B>
void gather(const A* from, std::int64_t stride, std::int64_t rows, std::int64_t columns, B* lanes) {
  copy_transposed(from, stride, rows, columns, lanes, kLanes);
  for (std::int64_t c = 0; c < columns; ++c)
    for (std::int64_t r = rows; r < kLanes; ++r) lanes[c * kLanes + r] = 0;
}
template <class T>
void scatter(const T* lanes, std::int64_t rows, std::int64_t columns, T* to, std::int64_t stride) {
  copy_transposed(lanes, kLanes, columns, rows, to, stride);
}

template <class T>
void quantise(T* __restrict q, const Lanes<T>& scale, const Lanes<T>& zero, T top, std::uint8_t* __restrict codes) {
  Lanes<T> code;
  for (std::size_t r = 0; r < std::size_t(kLanes); ++r) code[r] = code_of(q[r], scale[r], zero[r], top);
  for (std::size_t r = 0; r < std::size_t(kLanes); ++r) q[r] = scale[r] * (code[r] - zero[r]);
  for (std::size_t r = 0; r < std::size_t(kLanes); ++r) codes[r] = std::uint8_t(int(code[r]));
}

template <class T>
void drop(const std::uint8_t* __restrict dropped, T* __restrict q) {
  for (std::int64_t r = 0; r < kLanes; ++r) q[r] = dropped[r] ? T(0) : q[r];
}

// e = (w − q)·d; w becomes q.
template <class T>
void settle(T* __restrict w, const T* __restrict q, T d, T* __restrict minus_e, T* __restrict loss) {
  for (std::int64_t r = 0; r < kLanes; ++r) {
    const T e = (w[r] - q[r]) * d;
    minus_e[r] = -e;
    loss[r] += e * e;
    w[r] = q[r];
  }
}

// Column k of `columns` += x·u_k.
inline void add_outer(const float* u, std::int64_t columns, const float* x, float* w) {
  cpu_kernels().add_rows_f32(u, 1, int(columns), x, kLanes, 1, kLanes, w, kLanes);
}
inline void add_outer(const double* u, std::int64_t columns, const double* x, double* w) {
  for (std::int64_t k = 0; k < columns; ++k)
    for (std::int64_t r = 0; r < kLanes; ++r) w[k * kLanes + r] += u[k] * x[r];
}

// w²·d², infinite in lanes beyond the matrix: those are never the lowest.
template <class T>
void score(const T* __restrict w, T d, std::int64_t rows, T* __restrict out) {
  for (std::int64_t r = 0; r < kLanes; ++r) out[r] = w[r] * w[r] * (d * d);
  for (std::int64_t r = rows; r < kLanes; ++r) out[r] = std::numeric_limits<T>::infinity();
}

// Of each group of `of` columns the of − keep lowest scores go: those that fewer than of − keep others stand before.
template <class T>
void drop_in_group(const Lanes<T>* scores, std::int64_t keep, std::int64_t of, std::uint8_t* dropped) {
  for (std::int64_t k = 0; k < of; ++k) {
    std::array<std::int32_t, std::size_t(kLanes)> before{};
    const Lanes<T>& mine = scores[k];
    for (std::int64_t other = 0; other < of; ++other) {
      const Lanes<T>& theirs = scores[other];
      if (other < k)
        for (std::size_t r = 0; r < std::size_t(kLanes); ++r) before[r] += theirs[r] <= mine[r];
      else if (other > k)
        for (std::size_t r = 0; r < std::size_t(kLanes); ++r) before[r] += theirs[r] < mine[r];
    }
    for (std::int64_t r = 0; r < kLanes; ++r) dropped[k * kLanes + r] = before[std::size_t(r)] < of - keep;
  }
}

}  // namespace sinter::lanes
