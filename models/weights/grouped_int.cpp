#include "models/weights/formats.h"
#include "models/weights/parts.h"
#include "ops/code_stream.h"

namespace sinter {
namespace {

class GroupedIntWeight final : public FrozenWeight {
 public:
  explicit GroupedIntWeight(PackedInt w) : w_(std::move(w)) {}
  std::int64_t out_features() const override { return w_.rows; }
  std::int64_t in_features() const override { return w_.cols; }

  void apply(ConstView x, Rows r, View y, const Epilogue& e, Compute c) const override {
    check("grouped_int apply", x, y, r);
    check("grouped_int apply", y, e);
    packed_product(w_, x, r.begin, r.end, y, e, c);
  }
  void apply_transposed(ConstView dy, Rows r, View dx, float beta, Compute c) const override {
    check("grouped_int apply_transposed", dx, dy, r);
    packed_product_transposed(w_, dy, r.begin, r.end, dx, beta, c);
  }
  Tensor gather(std::span<const std::int32_t> rows, DType dtype) const override {
    check(rows);
    Tensor out = Tensor::empty({std::int64_t(rows.size()), w_.cols}, dtype);
    const View to(out);
    for (std::int64_t i = 0; i < to.rows(); ++i)
      unpack_rows(w_, rows[std::size_t(i)], rows[std::size_t(i)] + 1, to.row_range(i, i + 1));
    return out;
  }
  Tensor dense(Rows r, DType dtype) const override {
    Tensor out = Tensor::empty({r.size(), w_.cols}, dtype);
    unpack_rows(w_, r.begin, r.end, out);
    return out;
  }
  Packed pack() const override {
    const int version = w_.scale.dtype() == DType::f16 ? 2 : 1;
    Packed p{"grouped_int", version, {{"bits", w_.bits}, {"group", w_.group}, {"cols", w_.cols}}, {}};
    p.parts = {{"codes", w_.codes}, {"scale", w_.scale}, {"zero", w_.zero}};
    if (w_.order) p.parts["order"] = w_.order;
    return p;
  }
  FrozenWeightPtr to(Device d) const override {
    PackedInt moved = w_;
    for (Tensor* part : {&moved.codes, &moved.scale, &moved.zero, &moved.order})
      if (*part) *part = part->to(d);
    return std::make_shared<GroupedIntWeight>(std::move(moved));
  }

 private:
  PackedInt w_;
};

}  // namespace

FrozenWeightPtr freeze_grouped_int(PackedInt w) {
  check_packed(w, "grouped_int weight");
  return std::make_shared<GroupedIntWeight>(std::move(w));
}

FrozenWeightPtr load_grouped_int(const Packed& p) {
  constexpr std::string_view kWhere = "grouped_int weight";
  check_names(p, {"bits", "group", "cols"}, {"codes", "scale", "zero", "order"}, kWhere);
  const std::int64_t bits = field_of(p, "bits", kWhere);
  require(is_code_width(bits), ErrorCode::input, kWhere, "field \"bits\" is ", bits, ", expected 2, 3, 4 or 8");
  const Tensor codes = part_of(p, "codes"), scale = part_of(p, "scale");
  require(codes && codes.shape().rank() == 2, ErrorCode::input, kWhere, "tensor \"codes\" needs u8 [out, bytes], got ",
          codes.shape());
  require(p.version > 1 || !scale || scale.dtype() == DType::f32, ErrorCode::input, kWhere, "tensor \"scale\" is ",
          info(scale.dtype()).name, ", version 1 has f32");
  return freeze_grouped_int({.rows = codes.shape()[0],
                             .cols = field_of(p, "cols", kWhere),
                             .group = field_of(p, "group", kWhere),
                             .bits = int(bits),
                             .codes = codes,
                             .scale = scale,
                             .zero = part_of(p, "zero"),
                             .order = part_of(p, "order")});
}

}  // namespace sinter
