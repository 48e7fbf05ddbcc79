#pragma once
#include "train/compress/method.h"

namespace sinter {

// A result in the storage format that fits it: exact for what r.dense holds. packed: quantised values as codes; else
// dense, of the store type where that is exact.
FrozenWeightPtr freeze(LayerResult r, DType store, bool packed);

}  // namespace sinter
