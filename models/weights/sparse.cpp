#include "core/parallel.h"
#include "models/weights/formats.h"
#include "models/weights/parts.h"
#include "ops/code_stream.h"

namespace sinter {
namespace {

class SparseWeight final : public FrozenWeight {
 public:
  explicit SparseWeight(SparseSource w) : source_(std::move(w)) {}
  std::int64_t out_features() const override { return w().rows; }
  std::int64_t in_features() const override { return w().cols; }

  void apply(ConstView x, Rows r, View y, const Epilogue& e, Compute c) const override {
    check("sparse apply", x, y, r);
    check("sparse apply", y, e);
    sparse_product(source_, x, r, y, e, c);
  }
  void apply_transposed(ConstView dy, Rows r, View dx, float beta, Compute c) const override {
    check("sparse apply_transposed", dx, dy, r);
    strip_product_transposed(source_, dy, r, dx, beta, c);
  }
  Tensor gather(std::span<const std::int32_t> rows, DType dtype) const override {
    check(rows);
    return expanded(std::int64_t(rows.size()), dtype, [&](std::int64_t i) { return rows[std::size_t(i)]; });
  }
  Tensor dense(Rows r, DType dtype) const override {
    return expanded(r.size(), dtype, [&](std::int64_t i) { return r.begin + i; });
  }
  Packed pack() const override {
    Packed p{w().pattern.of ? "n_of_m" : "bitmap", 1, {{"cols", w().cols}, {"bits", w().bits}}, {{"mask", w().mask}}};
    if (w().pattern.of) p.fields["keep"] = w().pattern.keep, p.fields["of"] = w().pattern.of;
    if (w().bits == 0) {
      p.parts["values"] = w().values;
      return p;
    }
    p.fields["group"] = w().group;
    p.parts["codes"] = w().codes, p.parts["scale"] = w().scale, p.parts["zero"] = w().zero;
    if (w().group_of) p.parts["group_of"] = w().group_of;
    return p;
  }
  FrozenWeightPtr to(Device d) const override { return std::make_shared<SparseWeight>(source_.to(d)); }

 private:
  const SparseMatrix& w() const { return source_.matrix(); }
  template <class F>
  Tensor expanded(std::int64_t rows, DType dtype, F row_of) const {
    Tensor out = Tensor::empty({rows, w().cols}, dtype);
    const View to(out);
    visit_float(dtype, "sparse rows", [&]<class T>() {
      parallel_for(rows, 16, [&](std::int64_t i, std::int64_t end) {
        for (; i < end; ++i) source_.expand(row_of(i), 0, w().cols, to.row<T>(i).data());
      });
    });
    return out;
  }
  SparseSource source_;
};

SparseMatrix matrix_of(const Packed& p, std::initializer_list<std::string_view> fields, std::string_view where) {
  check_names(p, fields, {"mask", "values", "codes", "scale", "zero", "group_of"}, where);
  SparseMatrix w;
  w.mask = part_of(p, "mask");
  require(w.mask && w.mask.shape().rank() == 2, ErrorCode::input, where, "tensor \"mask\" needs u8 [out, bytes], got ",
          w.mask.shape());
  w.rows = w.mask.shape()[0];
  w.cols = field_of(p, "cols", where);
  const std::int64_t bits = field_of(p, "bits", where);
  require(bits == 0 || is_code_width(bits), ErrorCode::input, where, "field \"bits\" is ", bits,
          ", expected 0, 2, 3, 4 or 8");
  w.bits = int(bits);
  if (bits) w.group = field_of(p, "group", where);
  else require(!p.fields.contains("group"), ErrorCode::input, where, "field \"group\" without codes");
  w.values = part_of(p, "values");
  w.codes = part_of(p, "codes");
  w.scale = part_of(p, "scale");
  w.zero = part_of(p, "zero");
  w.group_of = part_of(p, "group_of");
  return w;
}

}  // namespace

FrozenWeightPtr freeze_sparse(SparseMatrix w) {
  return std::make_shared<SparseWeight>(SparseSource(std::move(w), "sparse weight"));
}

FrozenWeightPtr load_bitmap(const Packed& p) {
  constexpr std::string_view kWhere = "bitmap weight";
  return std::make_shared<SparseWeight>(SparseSource(matrix_of(p, {"cols", "bits", "group"}, kWhere), kWhere));
}

FrozenWeightPtr load_n_of_m(const Packed& p) {
  constexpr std::string_view kWhere = "n_of_m weight";
  SparseMatrix w = matrix_of(p, {"cols", "bits", "group", "keep", "of"}, kWhere);
  w.pattern = {field_of(p, "keep", kWhere), field_of(p, "of", kWhere)};
  require(w.pattern.of > 0, ErrorCode::input, kWhere, "field \"of\" is ", w.pattern.of);
  return std::make_shared<SparseWeight>(SparseSource(std::move(w), kWhere));
}

}  // namespace sinter
