// Wanda: prunes the lowest |w_ij| · ‖x_j‖ of each row, and updates nothing. Sun et al., ICLR 2024, equation 1.
#include <cmath>

#include "core/parallel.h"
#include "train/compress/pruned.h"

namespace sinter {
namespace {

constexpr std::int64_t kRows = 16;

class Wanda final : public LayerMethod {
 public:
  StatsRequest needs() const override { return {.column_sq = true}; }
  Pruning pruning() const override { return Pruning::required; }

  LayerResult compress(const LayerProblem& p) const override {
    const std::int64_t m = p.weight.shape()[0], n = p.weight.shape()[1];
    check_sparsity(p.sparsity, n, p.name);
    require(p.stats && p.stats->column_sq && p.stats->column_sq.numel() == n, ErrorCode::unsupported, p.name,
            "needs the norms of its inputs");
    std::vector<std::uint8_t> drop(std::size_t(m * n));
    visit_float(p.weight.dtype(), p.name, [&]<class T>() {
      const auto W = p.weight.data<T>();
      std::vector<T> norm(std::size_t(n), T(0));
      const auto sq = p.stats->column_sq.data<T>();
      for (std::size_t j = 0; j < norm.size(); ++j) {
        require(std::isfinite(sq[j]), ErrorCode::numeric, p.name, "the calibration inputs of column ", j,
                " are not finite");
        norm[j] = std::sqrt(sq[j]);
      }
      parallel_for(m, kRows, [&](std::int64_t begin, std::int64_t end) {
        std::vector<T> score(norm.size());
        for (std::int64_t i = begin; i < end; ++i) {
          const auto at = std::size_t(i * n);
          for (std::size_t j = 0; j < score.size(); ++j) score[j] = std::abs(W[at + j]) * norm[j];
          drop_in_row(std::span<const T>(score), p.sparsity, std::span(drop).subspan(at, score.size()));
        }
      });
    });
    return prune(p, drop);
  }
};

}  // namespace

std::unique_ptr<LayerMethod> make_wanda(MethodOptions&) { return std::make_unique<Wanda>(); }

}  // namespace sinter
