#pragma once
#include <memory>
#include <span>
#include <unordered_map>

#include "models/context.h"

namespace sinter {

// What a method needs to know of a linear's inputs; collected only where asked for.
struct StatsRequest {
  bool column_sq = false, gram = false;
  bool any() const { return column_sq || gram; }
};

// Second moments of the inputs x [tokens, n] that a linear saw in N sequences. Their common factor changes no choice and
// no update; it scales the printed loss and is the one of the SparseGPT and GPTQ code.
struct LayerStats {
  std::int64_t tokens = 0, sequences = 0;
  Tensor column_sq;  // [n]     (1/N) Σ x_j²
  Tensor gram;  // [n, n]  (2/N) Σ x xᵀ, bitwise symmetric
};

// Collects during forward passes. Linears that receive the same tensor (q, k, v; gate, up) share one LayerStats, summed
// once.
class StatsCollector final : public Observer {
 public:
  StatsCollector(StatsRequest request, std::span<Linear* const> wanted);
  void on_linear(const Linear& which, const Tensor& x) override;
  void finish(std::int64_t sequences);  // divides; nothing may be observed afterwards
  std::shared_ptr<const LayerStats> of(const Linear&) const;  // Error(unsupported) for one that was never run

 private:
  void add(LayerStats&, const Tensor& x) const;
  StatsRequest request_;
  struct Entry {
    std::shared_ptr<LayerStats> stats;  // null until seen
    const Linear* leader = nullptr;  // whose calls are summed
  };
  std::unordered_map<const Linear*, Entry> entries_;
  Tensor last_;  // held, so that its storage cannot come back as another tensor's
  Entry last_entry_;
};

}  // namespace sinter
