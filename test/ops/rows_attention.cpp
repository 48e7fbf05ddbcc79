#include "ops/attention.h"
#include "ops/cross_entropy.h"
#include "test/check.h"
#include "test/ops/op_table.h"
#include "test/ops/plain_weight.h"

namespace sinter::test {
namespace {

using Vars = std::span<const Var>;
using Form = Var (*)(const Var&, const Var&, const Var&, const AttentionShape&, std::vector<AttentionSpan>);

// Four heads over two key heads. Two sequences: the first all of its own, the second after a cache of its first keys;
// a row of q between them belongs to neither.
std::vector<Var> attend(Form form, Vars v) {
  const std::int64_t tq = v[0].shape()[0], tk = v[1].shape()[0], d = v[1].shape()[1] / 2, one = tq / 2;
  const std::vector<AttentionSpan> spans{{0, one, 0, one}, {one + 1, tq - one - 1, one, tk - one}};
  return {form(v[0], v[1], v[2], {4, 2, d, 1 / std::sqrt(double(d))}, spans)};
}
std::vector<Var> fused(Vars v) { return attend(attention, v); }
std::vector<Var> composed(Vars v) { return attend(attention_composed, v); }

const std::vector<Shape> kSmall{{7, 12}, {8, 6}, {8, 6}}, kOdd{{203, 68}, {217, 34}, {217, 34}};
const std::vector<Shape> kTiled{{19, 12}, {21, 6}, {21, 6}};  // enough queries for the tiled kernel
// Scores are sums of 17 products and values averages over up to 130 keys; exp doubles a score's error.
constexpr double kAttention = 1e-12;

std::vector<std::int32_t> some_targets(std::int64_t rows, std::int64_t vocabulary) {
  std::vector<std::int32_t> t;
  for (std::int64_t i = 0; i < rows; ++i) t.push_back(i % 3 == 1 ? -1 : std::int32_t(i * 7 % vocabulary));
  return t;
}
FrozenWeightPtr fixed_head(std::int64_t width) {
  return std::make_shared<PlainWeight>(randn({23, width}, 77, DType::f32));
}

}  // namespace

std::vector<OpRow> rows_of_attention() {
  const char* why = "sums of 17 products in scores, of up to 130 values in outputs and gradients";
  return {{"attention", kSmall, kOdd, fused, kAttention, why},
          {"attention, tiled", kTiled, kOdd, fused, kAttention, why},
          {"cut_block", kSmall, kOdd, composed, kAttention, why},
          {"paste_block", kSmall, kOdd, composed, kAttention, why},
          {"product", kTiled, kOdd, composed, kAttention, why}};
}

std::vector<OpRow> rows_of_cross_entropy() {
  const char* why = "logits are sums of up to 40 products; exp and a sum over the vocabulary follow";
  const auto trainable = [](Vars v) {
    return std::vector{cross_entropy(v[0], v[1], some_targets(v[0].shape()[0], v[1].shape()[0]))};
  };
  const auto frozen = [](Vars v) {
    return std::vector{cross_entropy(v[0], fixed_head(v[0].shape()[1]), some_targets(v[0].shape()[0], 23))};
  };
  const auto composed_head = [](Vars v) {
    return std::vector{cross_entropy_composed(v[0], v[1], some_targets(v[0].shape()[0], v[1].shape()[0]))};
  };
  return {{"cross_entropy", {{5, 4}, {9, 4}}, {{151, 40}, {2511, 40}}, trainable, 1e-11, why},
          {"cross_entropy, in chunks", {{5, 4}, {9, 4}}, {{421, 8}, {4201, 8}}, trainable, 1e-11, why},
          {"cross_entropy_frozen_head", {{5, 4}}, {{151, 40}}, frozen, 1e-11, why},
          {"nll", {{5, 4}, {9, 4}}, {{151, 40}, {251, 40}}, composed_head, 1e-11, why}};
}

}  // namespace sinter::test
