#pragma once
#include <span>

#include "ops/frozen_weight.h"

// How frozen weights meet the disk. A weight is a Packed: a tag that names the layout and is never given to another one,
// a version that counts up when a layout grows, integer fields, and tensors. A reader refuses a tag that it does not
// know, a version newer than its own, and any field or tensor that the layout does not name. docs/formats.md has the
// layouts.
namespace sinter {

struct WeightFormat {
  std::string_view tag;
  int version;  // the newest it reads
  FrozenWeightPtr (*load)(const Packed&);  // rejects what it does not understand
};
std::span<const WeightFormat> weight_formats();

// What [m, n] weights take in a packed format: the share of them that is kept, as codes of `bits` with f16 scales in groups
// (−1: whole rows) or, for 0 bits, as two-byte floats; below a share of 1 there is a mask.
struct StoredAs {
  double kept = 1;
  std::int64_t bits = 0, group = -1;
};
double stored_bytes(double m, double n, const StoredAs&);

// Error(input) naming `name` for an unknown tag, a newer version, or parts that do not fit the layout.
FrozenWeightPtr load_packed(const Packed&, std::string_view name);

}  // namespace sinter
