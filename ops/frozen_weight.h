#pragma once
#include <map>
#include <memory>
#include <string>
#include "ops/gemm.h"

namespace sinter {

struct Rows {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};

// How a frozen format meets the disk: a tag, typed fields, named tensors.
struct Packed {
  std::string tag;  // never reused for another layout
  int version = 1;
  std::map<std::string, std::int64_t> fields;  // bits, group, symmetric
  std::map<std::string, Tensor> parts;  // "codes", "scale", "zero"
};

// A fixed linear map R^in -> R^out held in some storage format. Immutable and
// without a gradient slot: it offers its product, its transposed product, and
// nothing a tape or an optimiser could hold on to.
class FrozenWeight {
 public:
  virtual ~FrozenWeight() = default;
  virtual std::int64_t out_features() const = 0;
  virtual std::int64_t in_features() const = 0;
  // x, y, dx, dy are all f32 or all f64, whatever the storage. Views, so that parts of a larger output are written in
  // place; rows by range, because adapters multiply by parts of W.
  // y[T,|rows|] = beta·y + act(x[T,in] · W[rows]ᵀ + bias)
  virtual void apply(ConstView x, Rows, View y, const Epilogue&, Compute) const = 0;
  // dx[T,in] = beta·dx + dy[T,|rows|] · W[rows]
  virtual void apply_transposed(ConstView dy, Rows, View dx, float beta, Compute) const = 0;
  // Values as f32 or f64: [n,in] for embeddings and a tied head; [|rows|,in] for export, merge, tests.
  virtual Tensor gather(std::span<const std::int32_t> rows, DType = DType::f32) const = 0;
  virtual Tensor dense(Rows, DType = DType::f32) const = 0;
  virtual Packed pack() const = 0;  // exact: load(pack()) is bit-equal
  virtual std::shared_ptr<const FrozenWeight> to(Device) const = 0;  // repacked for the device
  Rows all() const { return {0, out_features()}; }

 protected:
  // The rules every format shares: wide is x or dx, narrow is y or dy.
  void check(std::string_view where, const ConstView& wide, const ConstView& narrow, Rows) const;
  static void check(std::string_view where, const View& y, const Epilogue&);
  void check(std::span<const std::int32_t> rows) const;
};

using FrozenWeightPtr = std::shared_ptr<const FrozenWeight>;

// Bytes of all stored parts: what the weight takes in memory and on disk.
std::size_t stored_bytes(const FrozenWeight&);

// All rows, into a fresh tensor.
Tensor apply(const FrozenWeight&, const ConstView& x, const Epilogue& = {}, Compute = Compute::f32);
Tensor apply_transposed(const FrozenWeight&, const ConstView& dy, Compute = Compute::f32);

}  // namespace sinter
