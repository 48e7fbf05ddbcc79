#pragma once
#include <algorithm>
#include <vector>

#include "train/compress/result.h"

namespace sinter {

// The weight with zeros where drop [m, n] says so; survivors keep their bits.
inline Tensor without(const LayerProblem& p, std::span<const std::uint8_t> drop) {
  Tensor out = p.weight.clone();
  visit_float(out.dtype(), p.name, [&]<class T>() {
    const auto w = out.mutable_data<T>();
    for (std::size_t i = 0; i < w.size(); ++i)
      if (drop[i]) w[i] = 0;
  });
  return out;
}

// The result of a method that updates nothing.
inline LayerResult prune(const LayerProblem& p, std::span<const std::uint8_t> drop) {
  return make_result(p, without(p, drop), false);
}

// The nearest levels of the grids of w, which is the problem's weight or what pruning leaves of it. Zeros stay zero.
inline LayerResult round_to_grid(const LayerProblem& p, const Tensor& w, const GridRule& rule) {
  const Grid grid = find_grid(w, rule, p.name);
  const Tensor codes = nearest_codes(w, grid, rule.bits);
  LayerResult r = make_result(p, dequantise(codes, grid), true);
  if (grid.scale.dtype() == DType::f32) r.packed = pack_grid(codes, grid, rule.bits);
  return r;
}

}  // namespace sinter
