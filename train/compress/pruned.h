#pragma once
#include <algorithm>
#include <vector>

#include "train/compress/result.h"

namespace sinter {

// The weight with zeros where drop [m, n] says so; survivors keep their bits. For methods that update nothing.
inline LayerResult prune(const LayerProblem& p, std::span<const std::uint8_t> drop) {
  Tensor out = p.weight.clone();
  visit_float(out.dtype(), p.name, [&]<class T>() {
    const auto w = out.mutable_data<T>();
    for (std::size_t i = 0; i < w.size(); ++i)
      if (drop[i]) w[i] = 0;
  });
  return make_result(p, std::move(out), std::nullopt);
}

}  // namespace sinter
