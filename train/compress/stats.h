#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/context.h"

namespace sinter {

// What a method needs to know of a linear's inputs; collected only where asked for.
struct StatsRequest {
  bool column_sq = false, gram = false;
  bool mean = false, variance = false;  // what DSnoT needs
  bool any() const { return column_sq || gram || mean || variance; }
};

// Moments of the inputs x [tokens, n] that a linear saw in N sequences of equal length. The common factor of the second
// moments changes no choice and no update; it scales the printed loss and is the one of the SparseGPT and GPTQ code.
struct LayerStats {
  struct Place {
    std::int64_t sequence, column;
  };
  std::int64_t tokens = 0, sequences = 0;
  Tensor column_sq;  // [n]     (1/N) Σ x_j²; always, when anything is collected
  Tensor gram;  // [n, n]  (2/N) Σ x xᵀ, bitwise symmetric
  Tensor mean;  // [n]     (1/N) Σ x_j
  Tensor variance;  // [n]     mean over the sequences of each one's variance Σ (x_j − its mean)² / its tokens
  std::optional<Place> not_finite;  // the first sequence, and its first column, whose squares have no finite sum
};

// [n], of the Gram matrix or, where that is gone, of the column norms; empty without either.
std::vector<double> hessian_diagonal(const LayerStats&);

// Error(numeric) naming the linear and the first column whose inputs, or their squares, are not finite.
void check_finite(const LayerStats&, std::string_view linear);

// Collects during forward passes over whole sequences of `length` tokens, several to a batch. Linears that receive the
// same tensor (q, k, v; gate, up) share one LayerStats, summed once.
class StatsCollector final : public Observer {
 public:
  StatsCollector(StatsRequest request, std::span<Linear* const> wanted, std::int64_t length);
  // Error(shape) for rows that are not whole sequences.
  void on_linear(const Linear& which, const Tensor& x, const Tensor& y) override;
  void finish();  // divides; nothing may be observed afterwards
  void forget(const Linear& l) { entries_.erase(&l); }  // its statistics go with the last linear that shares them
  std::shared_ptr<LayerStats> of(const Linear&) const;  // Error(unsupported) for one that was never run
  // (2/N) Σ ‖W x‖² of the linear's outputs without its bias: tr(W H Wᵀ) without the product.
  double energy(const Linear&) const;

 private:
  void add(LayerStats&, const Tensor& x) const;
  StatsRequest request_;
  std::int64_t length_;
  struct Entry {
    std::shared_ptr<LayerStats> stats;  // null until seen
    const Linear* leader = nullptr;  // whose calls are summed
    double energy = 0;
  };
  std::unordered_map<const Linear*, Entry> entries_;
  Tensor last_;  // held, so that its storage cannot come back as another tensor's
  Entry last_entry_;
};

}  // namespace sinter
