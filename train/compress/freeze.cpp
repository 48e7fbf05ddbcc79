#include "train/compress/freeze.h"

#include "core/basic_kernels.h"
#include "models/weights/formats.h"

namespace sinter {

FrozenWeightPtr freeze(LayerResult r, DType store, bool packed) {
  if (r.packed && packed) return freeze_grouped_int(std::move(*r.packed));
  return freeze_dense(cast_if_exact(r.dense, store));
}

}  // namespace sinter
