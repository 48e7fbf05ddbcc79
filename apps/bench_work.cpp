// prompt_step, solve_sparsegpt, solve_gptq, attention: what users wait for, counted in floating-point operations.
#include <map>

#include "apps/bench.h"
#include "core/parallel.h"
#include "ops/attention.h"
#include "train/compress/method.h"
#include "train/optim.h"
#include "train/prompt.h"

namespace sinter::bench {
namespace {

constexpr std::int64_t kSequences = 2, kPromptTokens = 100, kTextTokens = 156;
constexpr std::int64_t kLayer = 2048, kSamples = 4096;

struct PromptBench {
  std::unique_ptr<CausalLM> model = llama_110m();
  PromptTask task{first_prompt(*model, kPromptTokens)};
  AdamW adam{task.trainable(), {}};
  Batch batch = window_batch(std::vector<std::int32_t>(kSequences * kTextTokens, 7), kTextTokens);

  void step() {
    Tape tape;
    const Context ctx{.tape = &tape};
    const Var loss = task.loss(ctx, *model, batch);
    adam.step(std::move(tape).backward(loss, Tensor::full({1}, 1, DType::f32)), 1e-3, 1 / double(batch.counted()));
  }
};

// The products of a step: y = x Wᵀ and dx = dy W of every linear and of the head, once each.
class StepProducts {
 public:
  explicit StepProducts(PromptBench& b) {
    const std::int64_t rows = kSequences * (kPromptTokens + kTextTokens);
    b.model->each_linear([&](Linear& l) { add(rows, l.out_features(), l.in_features()); });
    add(b.batch.counted(), b.model->config().vocab, b.model->config().word_width);
  }
  double gflop() const {
    double sum = 0;
    for (const auto& [shape, p] : products_) sum += p.count * (p.forward.gflop() + p.backward.gflop());
    return sum;
  }
  double seconds() {  // by OpenBLAS, each shape once, times its count
    double sum = 0;
    for (auto& [shape, p] : products_) sum += p.count * (p.forward.seconds() + p.backward.seconds());
    return sum;
  }

 private:
  struct Counted {
    BlasProduct forward, backward;
    int count = 0;
  };
  void add(std::int64_t rows, std::int64_t out, std::int64_t in) {
    const auto at = products_.try_emplace({rows, out, in}, Counted{{rows, out, in, Trans::yes}, {rows, in, out}}).first;
    ++at->second.count;
  }
  std::map<std::array<std::int64_t, 3>, Counted> products_;
};

// A layer with correlated inputs: H = (2/N) Σ x xᵀ of normal-like x with a shared part.
struct LayerBench {
  Tensor weight = random_tensor({kLayer, kLayer}, 10);
  LayerStats stats;
  LayerBench() {
    Tensor x = random_tensor({kSamples, kLayer}, 11);
    const auto values = x.mutable_data<float>();
    for (std::size_t i = 1; i < values.size(); ++i) values[i] += 0.5f * values[i - 1];
    stats.tokens = kSamples;
    stats.sequences = 1;
    stats.gram = matmul(x, Trans::yes, x, Trans::no);
    stats.column_sq = Tensor::empty({kLayer}, DType::f32);
    const auto sq = stats.column_sq.mutable_data<float>();
    const auto gram = stats.gram.data<float>();
    for (std::int64_t j = 0; j < kLayer; ++j) sq[std::size_t(j)] = gram[std::size_t(j * kLayer + j)];
  }
};

// Cholesky of H, its inverse, and the inverse's Cholesky: n³/3 + 2n³/3 + n³/3; the sweep: n²/2 updates of m weights.
Row solve(LogSink& log, std::string_view what, std::string shape, const LayerMethod& method, Sparsity sparsity) {
  const LayerBench b;
  const double m = double(kLayer), n = double(kLayer);
  return beside_cube(log, what, std::move(shape), 1e-9 * (4. / 3 * n * n * n + m * n * n), [&] {
    FactorMemo memo;
    method.compress({.name = what, .weight = b.weight.clone(), .stats = &b.stats, .sparsity = sparsity, .memo = &memo});
  });
}

}  // namespace

std::vector<Row> prompt_step(LogSink& log) {
  PromptBench b;
  StepProducts products(b);
  const Pair s = in_turn(
      log, [&] { return products.seconds(); }, [&] { return timed([&] { b.step(); }); });
  const double gflop = products.gflop();
  return {{"prompt_step", "llama 110M, 2 x (100 + 156) rows", gflop, "GFLOP/s", s.engine,
           s.limit > 0 ? std::optional(gflop / s.limit) : std::nullopt}};
}

std::vector<Row> solve_sparsegpt(LogSink& log) {
  return {solve(log, "solve_sparsegpt", "2048 x 2048, 50 %", *make_method("sparsegpt"), Fraction{0.5})};
}

std::vector<Row> solve_gptq(LogSink& log) {
  return {solve(log, "solve_gptq", "2048 x 2048, 4 bits, groups of 128",
                *make_method("gptq", {{"bits", "4"}, {"group", "128"}}), Unpruned{})};
}

// Forward: q kᵀ and p v, half of the T x T each; backward: five such products, as scores are computed again.
std::vector<Row> attention_f32(LogSink& log) {
  constexpr std::int64_t kLength = 2048, kHeads = 12, kHeadDim = 64;
  const AttentionShape shape{kHeads, kHeads, kHeadDim, 0.125};
  const Tensor q = random_tensor({kLength, kHeads * kHeadDim}, 20), k = random_tensor({kLength, kHeads * kHeadDim}, 21),
               v = random_tensor({kLength, kHeads * kHeadDim}, 22),
               one = random_tensor({kLength, kHeads * kHeadDim}, 23);
  const double product = 1e-9 * double(kLength) * kLength * kHeads * kHeadDim;  // 2 T² d / 2
  const std::vector<AttentionSpan> span{{0, kLength, 0, kLength}};
  const auto forward = [&] { attention(Var(q), Var(k), Var(v), shape, span); };
  const Param pq("q", q), pk("k", k), pv("v", v);
  const auto both = [&] {
    Tape tape;
    const Var o = attention(tape.leaf(pq), tape.leaf(pk), tape.leaf(pv), shape, span);
    std::move(tape).backward(o, one);
  };
  return {beside_cube(log, "attention", "T 2048, 12 heads of 64, forward", 2 * product, forward),
          beside_cube(log, "attention", "T 2048, 12 heads of 64, forward + backward", 7 * product, both)};
}

}  // namespace sinter::bench
