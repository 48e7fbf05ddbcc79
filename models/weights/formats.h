#pragma once
#include "ops/frozen_weight.h"
#include "ops/packed_int.h"
#include "ops/sparse_matrix.h"

namespace sinter {

// Dense [out, in] in f64, f32, f16 or bf16, kept as stored and expanded a strip of rows at a time.
FrozenWeightPtr freeze_dense(Tensor dense);  // dense.cpp
FrozenWeightPtr freeze_grouped_int(PackedInt);  // grouped_int.cpp
FrozenWeightPtr freeze_sparse(SparseMatrix);  // sparse.cpp: "bitmap", or "n_of_m" where it has that pattern

// What each of them is on disk: docs/formats.md.
FrozenWeightPtr load_dense(const Packed&);
FrozenWeightPtr load_grouped_int(const Packed&);
FrozenWeightPtr load_bitmap(const Packed&);
FrozenWeightPtr load_n_of_m(const Packed&);

}  // namespace sinter
