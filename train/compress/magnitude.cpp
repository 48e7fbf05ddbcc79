// Magnitude pruning: the lowest |w| of the whole matrix, or of each n:m group, become zero. Needs no data.
// Han et al., NeurIPS 2015.
#include "train/compress/pruned.h"

namespace sinter {
namespace {

class Magnitude final : public LayerMethod {
 public:
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
    return prune(p, drop);
  }
};

}  // namespace

std::unique_ptr<LayerMethod> make_magnitude(MethodOptions&) { return std::make_unique<Magnitude>(); }

}  // namespace sinter
