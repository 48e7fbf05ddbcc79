#include "models/shape_model.h"

#include "models/llama.h"
#include "models/opt.h"

namespace sinter {
namespace {

class ShapeOnly final : public FrozenWeight {
 public:
  ShapeOnly(std::int64_t out, std::int64_t in) : out_(out), in_(in) {}
  std::int64_t out_features() const override { return out_; }
  std::int64_t in_features() const override { return in_; }
  void apply(ConstView, Rows, View, const Epilogue&, Compute) const override { refuse(); }
  void apply_transposed(ConstView, Rows, View, float, Compute) const override { refuse(); }
  Tensor gather(std::span<const std::int32_t>, DType) const override { refuse(); }
  Tensor dense(Rows, DType) const override { refuse(); }
  Packed pack() const override { refuse(); }
  FrozenWeightPtr to(Device) const override { refuse(); }

 private:
  [[noreturn]] static void refuse() { fail(ErrorCode::unsupported, "model", "has a shape but no weights"); }
  std::int64_t out_, in_;
};

class ShapeSource final : public TensorSource {
 public:
  bool has(const std::string&) const override { return false; }
  Tensor vector(const std::string&, Shape shape) override { return Tensor::empty(shape, DType::f32); }
  FrozenWeightPtr matrix(const std::string&, std::int64_t out, std::int64_t in) override {
    return std::make_shared<ShapeOnly>(out, in);
  }
};

}  // namespace

std::unique_ptr<CausalLM> shape_model(const ModelConfig& c) {
  ShapeSource source;
  return c.family == Family::llama ? make_llama(c, source) : make_opt(c, source);
}

}  // namespace sinter
