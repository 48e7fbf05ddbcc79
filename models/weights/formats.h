#pragma once
#include "ops/frozen_weight.h"
#include "ops/packed_int.h"

namespace sinter {

// Dense [out, in] in f64, f32, f16 or bf16, kept as stored and expanded a strip of rows at a time.
FrozenWeightPtr freeze_dense(Tensor dense);  // dense.cpp
FrozenWeightPtr freeze_grouped_int(PackedInt);  // grouped_int.cpp

// On disk: Packed{"dense", 1, {}, {"weight"}} and Packed{"grouped_int", 1, {"bits", "group", "cols"}, {"codes", "scale", "zero"[, "order"]}}.
FrozenWeightPtr load_dense(const Packed&);
FrozenWeightPtr load_grouped_int(const Packed&);

}  // namespace sinter
