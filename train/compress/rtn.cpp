// Round to nearest: every weight on its own, on the grid that GPTQ would use. Needs no data.
#include "train/compress/pruned.h"

namespace sinter {
namespace {

class Rtn final : public LayerMethod {
 public:
  explicit Rtn(const GridRule& rule) : rule_(rule) {}
  StatsRequest needs() const override { return {}; }
  Pruning pruning() const override { return Pruning::none; }
  LayerResult compress(const LayerProblem& p) const override { return round_to_grid(p, p.weight, rule_); }

 private:
  GridRule rule_;
};

}  // namespace

// The grid: bits (4 if not given), group, sym, mse, scale32, min_zero, half_sym.
std::unique_ptr<LayerMethod> make_rtn(MethodOptions& o) { return std::make_unique<Rtn>(read_grid_rule(o, "rtn")); }

}  // namespace sinter
