// prompt_step, attention: what users wait for, counted in floating-point operations.
#include <map>

#include "apps/bench.h"
#include "core/parallel.h"
#include "ops/attention.h"
#include "train/optim.h"
#include "train/prompt.h"

namespace sinter::bench {
namespace {

constexpr std::int64_t kSequences = 2, kPromptTokens = 100, kTextTokens = 156;

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
