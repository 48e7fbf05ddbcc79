// Round to nearest: every weight on its own, on the grid that GPTQ would use. Needs no data.
#include "train/compress/result.h"

namespace sinter {
namespace {

class Rtn final : public LayerMethod {
 public:
  explicit Rtn(GridRule rule) : rule_(rule) {}
  StatsRequest needs() const override { return {}; }
  Pruning pruning() const override { return Pruning::none; }

  LayerResult compress(const LayerProblem& p) const override {
    const Grid grid = find_grid(p.weight, rule_, p.name);
    const Tensor codes = nearest_codes(p.weight, grid, rule_.bits);
    LayerResult r = make_result(p, dequantise(codes, grid), rule_);
    if (grid.scale.dtype() == DType::f32) r.packed = pack_grid(codes, grid, rule_.bits);
    return r;
  }

 private:
  GridRule rule_;
};

}  // namespace

// bits, group, sym, mse.
std::unique_ptr<LayerMethod> make_rtn(MethodOptions& o) { return std::make_unique<Rtn>(read_grid_rule(o, "rtn")); }

}  // namespace sinter
