#pragma once
#include <cstdint>

#include "core/random.h"
#include "core/tensor.h"

namespace sinter {

struct SampleOptions {
  double temperature = 0;  // 0: the most likely token
  std::int64_t top_k = 0;  // 0: all
  double top_p = 1;  // the smallest set of most likely tokens whose probabilities reach it
};

// The next token from logits [V] f32. With temperature > 0: softmax(logits / temperature) restricted to top-k, then
// top-p (Holtzman et al. 2020), drawn with rng.uniform(index). Logits that are NaN are Error(numeric).
std::int32_t sample(const Tensor& logits, const SampleOptions&, Rng, std::uint64_t index);

}  // namespace sinter
