#include "models/sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/reduce.h"

namespace sinter {

std::int32_t sample(const Tensor& logits, const SampleOptions& o, Rng rng, std::uint64_t index) {
  const auto z = logits.data<float>();
  for (const float v : z)
    require(!std::isnan(v), ErrorCode::numeric, "generate", "the model's logits are not a number");
  if (o.temperature <= 0) return std::int32_t(argmax(logits));

  std::vector<std::int32_t> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](auto a, auto b) { return z[std::size_t(a)] > z[std::size_t(b)]; });
  if (o.top_k > 0) order.resize(std::min(order.size(), std::size_t(o.top_k)));
  std::vector<double> p;
  for (const auto i : order)
    p.push_back(std::exp((double(z[std::size_t(i)]) - double(z[std::size_t(order[0])])) / o.temperature));
  double total = std::accumulate(p.begin(), p.end(), 0.0), kept = 0;
  std::size_t n = 0;
  while (n < p.size() && (n == 0 || kept < o.top_p * total)) kept += p[n++];
  double at = double(rng.uniform(index)) * kept;
  for (std::size_t i = 0; i + 1 < n; ++i)
    if ((at -= p[i]) < 0) return order[i];
  return order[n - 1];
}

}  // namespace sinter
