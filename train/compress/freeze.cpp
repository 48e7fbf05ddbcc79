#include "train/compress/freeze.h"

#include "core/basic_kernels.h"
#include "models/weights/formats.h"

namespace sinter {
namespace {

// The kept weights alone, or nothing where they cannot be told apart or are too wide for the format.
FrozenWeightPtr sparse(const Tensor& dense, const std::optional<PackedInt>& codes, const Sparsity& sparsity) {
  if (!codes && info(dense.dtype()).size > 4) return nullptr;
  KeptPattern pattern;
  if (const auto* k = std::get_if<KeepOf>(&sparsity)) pattern = {k->keep, k->of};
  Tensor mask = kept_mask(dense, pattern);
  if (!mask) mask = kept_mask(dense, pattern = {});
  return freeze_sparse(codes ? keep_codes(*codes, mask, pattern) : keep_values(dense, mask, pattern));
}

}  // namespace

FrozenWeightPtr freeze(const LayerResult& r, const Sparsity& sparsity, DType store, bool packed) {
  const bool codes = r.packed && packed;
  const Tensor dense = codes ? r.dense : cast_if_exact(r.dense, store);
  FrozenWeightPtr whole = codes ? freeze_grouped_int(*r.packed) : freeze_dense(dense);
  if (!packed || std::holds_alternative<Unpruned>(sparsity)) return whole;
  FrozenWeightPtr part = sparse(dense, r.packed, sparsity);
  return part && stored_bytes(*part) < stored_bytes(*whole) ? part : whole;
}

}  // namespace sinter
