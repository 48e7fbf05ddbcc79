#pragma once
#include "train/compress/method.h"

namespace sinter {

// A result in the smallest storage format that holds what r.dense holds (a zero loses its sign). Dense, of the store
// type where that is exact; with `packed`, also
//   quantised   grouped_int
//   pruned      n_of_m where the zeros are as the pattern says, else bitmap: of codes where quantised, else of values
FrozenWeightPtr freeze(const LayerResult&, const Sparsity&, DType store, bool packed);

}  // namespace sinter
