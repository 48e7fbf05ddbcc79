#pragma once
#include <set>
#include <string>

#include "models/causal_lm.h"

// What can be said of a frozen model by looking at its tensors.
namespace sinter {

std::string format_of(const Packed&);  // "bf16", "4 bits g128 act-order", "2:4 bf16", "bitmap 4 bits g128"

// What a stored weight takes, in bits for each of its entries.
struct BitShares {
  double values = 0;  // or codes
  double mask = 0;
  double grid = 0;  // scales and zeros
  double order = 0;  // of columns or groups in act-order
  double all() const { return values + mask + grid + order; }
  void add(const BitShares&, double times);
  void divide(double by);
};
BitShares bits_of(const Packed&, std::int64_t entries);

double zero_share(const FrozenWeight&);  // of all weights; rows are expanded a strip at a time
std::int64_t parameters_of(CausalLM&);
std::set<std::string> used_tensors(CausalLM&);  // names in the checkpoint that the model reads
std::int64_t first_unsound(const Tensor&);  // place of the first value that is not finite, or -1

}  // namespace sinter
