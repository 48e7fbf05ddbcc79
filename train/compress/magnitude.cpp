// Magnitude pruning: the lowest |w| of the whole matrix, or of each n:m group, become zero; with bits the others are
// rounded to the nearest level of the grid that spans them. Needs no data. Han et al., NeurIPS 2015.
#include "train/compress/pruned.h"

namespace sinter {
namespace {

class Magnitude final : public LayerMethod {
 public:
  explicit Magnitude(std::optional<GridRule> rule) : rule_(rule) {}
  StatsRequest needs() const override { return {}; }
  Pruning pruning() const override { return Pruning::required; }

  LayerResult compress(const LayerProblem& p) const override {
    const std::int64_t m = p.weight.shape()[0], n = p.weight.shape()[1];
    check_sparsity(p.sparsity, n, p.name);
    std::vector<std::uint8_t> drop(std::size_t(m * n));
    visit_float(p.weight.dtype(), p.name, [&]<class T>() {
      const auto W = p.weight.data<T>();
      if (const auto* f = std::get_if<Fraction>(&p.sparsity))
        return drop_lowest(W, zeros_among(*f, m * n), std::span(drop));
      drop_in_row(W, p.sparsity, std::span(drop));  // a group never crosses the end of a row
    });
    return rule_ ? round_to_grid(p, without(p, drop), *rule_) : prune(p, drop);
  }

 private:
  std::optional<GridRule> rule_;
};

}  // namespace

// With bits also the rest of the grid.
std::unique_ptr<LayerMethod> make_magnitude(MethodOptions& o) {
  return std::make_unique<Magnitude>(o.has("bits") ? std::optional(read_grid_rule(o, "magnitude")) : std::nullopt);
}

}  // namespace sinter
