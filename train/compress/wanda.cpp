// Wanda: prunes the lowest S_ij = |w_ij| · ‖x_j‖ of each row, and updates nothing. Sun et al., ICLR 2024, equation 1.
// With bits the mask comes first, of the dense weight, and then the OBS sweep quantises what it keeps, its errors
// compensated by the kept weights that follow.
#include <cmath>

#include "core/parallel.h"
#include "train/compress/obs_layer.h"
#include "train/compress/pruned.h"
#include "train/compress/wanda_variant.h"

namespace sinter {
namespace {

constexpr std::int64_t kRows = 16;

class Wanda final : public LayerMethod {
 public:
  Wanda(bool variant, const ObsSettings& s) : variant_(variant), settings_(s) {}
  StatsRequest needs() const override { return {.column_sq = true, .gram = settings_.grid.has_value()}; }
  Pruning pruning() const override { return Pruning::required; }
  void check(const Sparsity& s, std::int64_t columns, std::string_view where) const override {
    check_sparsity(s, columns, where);
    require(!variant_ || std::holds_alternative<Fraction>(s), ErrorCode::usage, where,
            "variant=1 shares out zeros among rows; it goes with --sparsity, not with --pattern");
  }

  LayerResult compress(const LayerProblem& p) const override {
    const std::int64_t m = p.weight.shape()[0], n = p.weight.shape()[1];
    check(p.sparsity, n, p.name);
    require(p.stats && p.stats->column_sq && p.stats->column_sq.numel() == n, ErrorCode::unsupported, p.name,
            "needs the norms of its inputs");
    check_finite(*p.stats, p.name);
    Tensor drop = Tensor::empty({m, n}, DType::u8);
    visit_float(p.weight.dtype(), p.name, [&]<class T>() { choose<T>(p, drop.mutable_data<std::uint8_t>()); });
    return settings_.grid ? compress_by_obs(p, settings_, drop) : prune(p, drop.data<std::uint8_t>());
  }

 private:
  template <class T>
  void choose(const LayerProblem& p, std::span<std::uint8_t> drop) const {
    const auto W = p.weight.template data<T>(), sq = p.stats->column_sq.template data<T>();
    const std::int64_t m = p.weight.shape()[0];
    const std::size_t n = sq.size();
    std::vector<T> norm(n);
    std::ranges::transform(sq, norm.begin(), [](T v) { return std::sqrt(v); });
    const auto score_row = [&](std::int64_t i, std::span<T> score) {
      for (std::size_t j = 0; j < n; ++j) score[j] = std::abs(W[std::size_t(i) * n + j]) * norm[j];
    };
    if (variant_) {
      std::vector<T> score(std::size_t(m) * n);
      parallel_for(m, kRows, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) score_row(i, std::span(score).subspan(std::size_t(i) * n, n));
      });
      require(std::ranges::all_of(score, [](T v) { return std::isfinite(v); }), ErrorCode::numeric, p.name,
              "a weight is not finite");
      return drop_by_share(std::span<const T>(score), m, std::get<Fraction>(p.sparsity), drop);
    }
    parallel_for(m, kRows, [&](std::int64_t begin, std::int64_t end) {
      std::vector<T> score(n);
      for (std::int64_t i = begin; i < end; ++i) {
        score_row(i, score);
        drop_in_row(std::span<const T>(score), p.sparsity, drop.subspan(std::size_t(i) * n, n));
      }
    });
  }

  bool variant_;
  ObsSettings settings_;
};

}  // namespace

// variant; with bits also what gptq takes.
std::unique_ptr<LayerMethod> make_wanda(MethodOptions& o) {
  const bool variant = o.flag("variant");
  return std::make_unique<Wanda>(variant, o.has("bits") ? read_obs_settings(o, "wanda", true) : ObsSettings{});
}

}  // namespace sinter
