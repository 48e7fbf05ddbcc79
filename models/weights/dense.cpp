#include "core/basic_kernels.h"
#include "models/weights/formats.h"
#include "ops/few_rows.h"
#include "ops/gemm_tile.h"
#include "ops/strip_product.h"

namespace sinter {
namespace {

class DenseWeight final : public FrozenWeight {
 public:
  explicit DenseWeight(Tensor w) : w_(std::move(w)), source_(w_) {}
  DenseWeight(const DenseWeight&) = delete;
  DenseWeight& operator=(const DenseWeight&) = delete;
  std::int64_t out_features() const override { return w_.shape()[0]; }
  std::int64_t in_features() const override { return w_.shape()[1]; }

  void apply(ConstView x, Rows r, View y, const Epilogue& e, Compute c) const override {
    check("dense apply", x, y, r);
    check("dense apply", y, e);
    if (direct(x, c)) return gemm(x, Trans::no, rows(r), Trans::yes, y, e);
    if (from_halves(x, c)) return half_product(w_, x, r, y, e);
    strip_product(source_, x, r, y, e, c);
  }
  void apply_transposed(ConstView dy, Rows r, View dx, float beta, Compute c) const override {
    check("dense apply_transposed", dx, dy, r);
    if (direct(dy, c)) return gemm(dy, Trans::no, rows(r), Trans::no, dx, {.beta = beta});
    if (from_halves(dy, c)) return half_product_transposed(w_, dy, r, dx, beta);
    strip_product_transposed(source_, dy, r, dx, beta, c);
  }
  Tensor gather(std::span<const std::int32_t> rows, DType dtype) const override {
    check(rows);
    Tensor out = Tensor::empty({std::int64_t(rows.size()), in_features()}, dtype);
    visit_float(dtype, "dense gather", [&]<class T>() {
      const View to(out);
      for (std::size_t i = 0; i < rows.size(); ++i)
        source_.expand(rows[i], 0, in_features(), to.row<T>(std::int64_t(i)).data());
    });
    return out;
  }
  Tensor dense(Rows r, DType dtype) const override { return cast(w_.rows(r.begin, r.end), dtype); }
  Packed pack() const override { return {"dense", 1, {}, {{"weight", w_}}}; }
  FrozenWeightPtr to(Device d) const override { return d == w_.device() ? freeze_dense(w_) : freeze_dense(w_.to(d)); }

 private:
  // A few rows wait for the weights to come from memory, so that bf16 arithmetic would save nothing there.
  static bool exact(const ConstView& x, Compute c) { return c == Compute::f32 || x.rows() <= kFewDecodeRows; }
  bool direct(const ConstView& x, Compute c) const { return exact(x, c) && x.dtype() == w_.dtype(); }
  bool from_halves(const ConstView& x, Compute c) const {
    return exact(x, c) && x.rows() <= kFewRows && x.dtype() == DType::f32 && info(w_.dtype()).size == 2;
  }
  ConstView rows(Rows r) const { return ConstView(w_).row_range(r.begin, r.end); }

  Tensor w_;
  DenseSource source_;  // of w_
};

}  // namespace

FrozenWeightPtr freeze_dense(Tensor dense) {
  require(dense && dense.shape().rank() == 2, ErrorCode::shape, "dense weight", "needs [out, in], got ", dense.shape());
  require(is_float(dense.dtype()), ErrorCode::dtype, "dense weight", "needs a float type, got ",
          info(dense.dtype()).name);
  return std::make_shared<DenseWeight>(std::move(dense));
}

FrozenWeightPtr load_dense(const Packed& p) {
  const auto it = p.parts.find("weight");
  require(it != p.parts.end() && p.parts.size() == 1 && p.fields.empty(), ErrorCode::input, "dense weight",
          "needs exactly the tensor \"weight\"");
  const Tensor& w = it->second;
  require(w && w.shape().rank() == 2 && w.shape()[0] > 0 && w.shape()[1] > 0 && is_float(w.dtype()), ErrorCode::input,
          "dense weight", "tensor \"weight\" needs a float [out, in], got ", info(w.dtype()).name, " ", w.shape());
  return freeze_dense(w);
}

}  // namespace sinter
