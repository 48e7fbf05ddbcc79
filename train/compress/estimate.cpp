#include "train/compress/estimate.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/basic_kernels.h"
#include "models/packed.h"
#include "models/weights/formats.h"
#include "ops/linalg.h"
#include "train/compress/hidden_bank.h"

namespace sinter {
namespace {

constexpr double kFloat = 4;
constexpr double kProgram = 16e6;  // code, threads and their buffers that the work itself brings in

double elements(const Linear& l) { return double(l.out_features()) * double(l.in_features()); }

// Share of the weights that stay.
double kept(const Sparsity& s) {
  if (const auto* f = std::get_if<Fraction>(&s)) return 1 - f->zeros;
  if (const auto* k = std::get_if<KeepOf>(&s)) return double(k->keep) / k->of;
  return 1;
}

// Bytes of one compressed linear: values or codes, a mask, f16 scales and zeros of the groups.
double result_bytes(const Linear& l, const CompressPlan& plan, const EstimateInput& in) {
  const double m = double(l.out_features()), n = double(l.in_features()), source = double(stored_bytes(*l.frozen()));
  if (!plan.packed) return in.bits > 0 ? kFloat * m * n : source;
  const double share = kept(plan.sparsity);
  if (in.bits == 0) return share * source + (share < 1 ? m * n / 8 : 0);
  return stored_bytes(m, n, {share, in.bits, in.group});
}

// What a block's forward pass holds besides its input, at its widest: in the feed-forward part.
double activation_bytes(const ModelConfig& c, double rows) {
  const double d = double(c.hidden), f = double(c.ffn), q = double(c.heads * c.head_dim),
               k = double(c.kv_heads * c.head_dim);
  return kFloat * rows * (c.family == Family::llama ? 7 * d + q + k + 3 * f : std::max(4 * d + 2 * f, 6 * d));
}

// Bytes that a solve holds besides statistics and factor: the weight, the sweep's two; where the Gram matrix is left to
// measure the error with, one more.
double solve_bytes(const Linear& l, const CompressPlan& plan, const EstimateInput& in) {
  const double w = kFloat * elements(l);
  const bool traced = plan.method->needs().gram && !spends_gram(l.in_features());
  const double codes = in.bits > 0 ? w / 4 : 0;
  return (traced ? 4 : 3) * w + codes;
}

// Walks through the linears as the pipeline does and keeps the largest of what it would hold.
class Walk {
 public:
  Walk(CausalLM& model, const CompressPlan& plan, const EstimateInput& in, const Rates& rates)
      : model_(model), plan_(plan), in_(in), rates_(rates), selected_(selected_linears(model, plan)) {
    request_ = plan.method->needs();
    request_.gram |= plan.measure && in.windows > 0;
    tokens_ = double(in.windows * in.length);
    passes_data_ = in.windows > 0 && request_.any();
  }

  CompressEstimate estimate() {
    const double d = double(model_.config().hidden);
    e_.hidden_bytes = passes_data_ ? kFloat * tokens_ * d : 0;
    if (passes_data_) {
      batch_ = double(std::min(in_.windows, HiddenBank::batch_sequences(in_.length)) * in_.length);
      hidden_ = plan_.scratch.empty() ? e_.hidden_bytes : 0;
      input_ = plan_.scratch.empty() ? 0 : kFloat * batch_ * d;
    }
    int last = 0;
    for (int b = 0; b < model_.all().last; ++b)
      for (const auto& stage : model_.block(b).stages())
        if (!wanted(stage).empty()) last = b;
    for (int b = 0; b <= last; ++b) block(model_.block(b), b < last);
    e_.phases = {forward_, statistics_, solve_};
    return std::move(e_);
  }

 private:
  using Stage = std::vector<Linear*>;
  Stage wanted(const Stage& stage) const {
    Stage s;
    for (Linear* l : stage)
      if (std::ranges::find(selected_, l) != selected_.end()) s.push_back(l);
    return s;
  }
  double gram_bytes(const Stage& s) const {
    const double n = double(s.front()->in_features());
    return request_.gram && passes_data_ ? kFloat * n * n : 0;
  }

  void block(Block& block, bool goes_on) {
    double source = 0;
    std::vector<Stage> stages;
    for (const auto& stage : block.stages()) {
      for (const Linear* l : stage) source += double(stored_bytes(*l->frozen()));
      if (Stage s = wanted(stage); !s.empty()) stages.push_back(std::move(s));
    }
    const bool apart = plan_.true_sequential || plan_.one_stage;
    const std::size_t passes = stages.empty() ? 0 : apart ? stages.size() : 1;
    double results = 0, grams = 0, largest = 0;
    for (const Stage& s : stages) {
      grams += gram_bytes(s);
      largest = std::max(largest, gram_bytes(s));
    }
    const double before = in_.base_bytes + kProgram + hidden_;
    double waiting = apart ? 0 : grams;
    for (const Stage& s : stages) {
      if (apart) pass(before + results + gram_bytes(s), source);
      solve(s, before + (apart ? gram_bytes(s) : waiting), results);
      waiting -= gram_bytes(s);
    }
    if (!apart && !stages.empty()) pass(before + grams, source);
    if (goes_on) pass(before, source);
    if (passes_data_)
      forward_.seconds += double(passes + (goes_on ? 1 : 0)) *
                          rates_.seconds(forward_work(block, model_.config(), tokens_, double(in_.length)));
  }

  void pass(double held, double source) {
    if (!passes_data_) return;
    forward_.bytes = std::max(forward_.bytes, held + source + input_ + activation_bytes(model_.config(), batch_));
    statistics_.bytes = forward_.bytes;
  }

  void solve(const Stage& stage, double held, double& results) {
    const bool factors = plan_.method->needs().gram;
    const double n = double(stage.front()->in_features());
    if (request_.gram && passes_data_) statistics_.seconds += rates_.seconds(gram_work(n, tokens_));
    for (const Linear* l : stage) {
      const double result = result_bytes(*l, plan_, in_),
                   factor = factors && !spends_gram(l->in_features()) ? kFloat * n * n : 0;
      solve_.bytes = std::max(solve_.bytes, held + factor + results + solve_bytes(*l, plan_, in_));
      solve_.seconds += rates_.seconds(solve_work(*l, factors, l != stage.front()));
      results += result;
      e_.compressed_bytes += result;
      e_.source_bytes += double(stored_bytes(*l->frozen()));
      e_.weights += std::int64_t(elements(*l));
      ++e_.linears;
    }
  }

  CausalLM& model_;
  const CompressPlan& plan_;
  const EstimateInput& in_;
  const Rates& rates_;
  std::vector<Linear*> selected_;
  StatsRequest request_;
  bool passes_data_ = false;
  double tokens_ = 0, batch_ = 0, hidden_ = 0, input_ = 0;
  CompressEstimate e_;
  EstimatePhase forward_{"forward passes"}, statistics_{"statistics"}, solve_{"solving one linear at a time"};
};

// Operations per second of f, which does `flops` at a time, over about half a second.
template <class F>
double rate(double flops, F&& f) {
  f();
  const auto start = std::chrono::steady_clock::now();
  for (int runs = 1;; ++runs) {
    f();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds > 0.5) return flops * runs / seconds;
  }
}

// A random matrix, a function of the place.
Tensor noise(std::int64_t m, std::int64_t n, std::uint64_t stream) {
  Tensor t = Tensor::empty({m, n}, DType::f32);
  const auto x = t.mutable_data<float>();
  const Rng rng{0, stream};
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = float(rng.normal(i));
  return t;
}

// A number of columns that the plan's pattern accepts and that is soon solved.
std::int64_t sample_columns(const CausalLM& model, const CompressPlan& plan) {
  constexpr std::int64_t kEnough = 1024;
  const std::int64_t d = model.config().hidden;
  if (d <= kEnough) return d;
  try {
    plan.method->check(plan.sparsity, kEnough, "sample");
    return kEnough;
  } catch (const Error&) { return d; }
}

}  // namespace

double CompressEstimate::peak_bytes() const {
  double peak = 0;
  for (const auto& p : phases) peak = std::max(peak, p.bytes);
  return peak;
}

double CompressEstimate::seconds() const {
  double sum = 0;
  for (const auto& p : phases) sum += p.seconds;
  return sum;
}

CompressEstimate estimate_compression(CausalLM& model, const CompressPlan& plan, const EstimateInput& in,
                                      const Rates& rates) {
  return Walk(model, plan, in, rates).estimate();
}

Rates measure_rates(const CausalLM& model, const CompressPlan& plan) {
  constexpr std::int64_t kRows = 256, kTokens = 512;
  const std::int64_t n = sample_columns(model, plan);
  const double m = double(kRows), width = double(n);
  Rates r;
  const Tensor w = noise(kRows, n, 1), x = noise(kTokens, n, 2);
  const auto frozen = freeze_dense(cast(noise(n, n, 3), DType::bf16));
  r.product = rate(2 * double(kTokens) * width * width, [&] { (void)apply(*frozen, x, {}, plan.compute); });

  LayerStats stats;
  stats.tokens = kTokens;
  stats.sequences = 1;
  stats.column_sq = Tensor::full({n}, double(kTokens), DType::f32);
  stats.mean = Tensor::full({n}, 0.1, DType::f32);
  stats.variance = Tensor::full({n}, 1, DType::f32);
  stats.gram = Tensor::zeros({n, n}, DType::f32);
  add_gram(stats.gram, x);
  for (std::int64_t j = 0; j < n; ++j) stats.gram.mutable_data<float>()[std::size_t(j * n + j)] += float(kTokens);
  const bool factors = plan.method->needs().gram;
  LayerProblem p;
  p.name = "sample";
  if (factors) r.factor = rate(2. / 3 * width * width * width, [&] { (void)upper_cholesky(stats.gram.clone()); });
  FactorMemo memo;
  p.weight = w;
  p.stats = &stats;
  p.energy = 2 * m * width * double(kTokens);
  p.sparsity = plan.sparsity;
  p.store = DType::bf16;
  p.memo = &memo;
  r.sweep = rate(factors ? m * width * width : 50 * m * width, [&] { (void)plan.method->compress(p); });
  return r;
}

}  // namespace sinter
