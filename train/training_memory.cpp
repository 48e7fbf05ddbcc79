#include "train/training_memory.h"

#include <algorithm>
#include <chrono>

#include "core/parallel.h"
#include "ops/cross_entropy.h"

namespace sinter {
namespace {

constexpr double kFloat = 4;
constexpr double kProgram = 24e6;  // code, tokenizer, stacks, the BLAS's buffers

double elements(const Linear& l) { return double(l.out_features()) * double(l.in_features()); }
double values_of(const Weight& w) { return double(std::get<Tensor>(w).numel()); }

// Values of the rows of W [m, n] that are expanded at a time: about 2^log, from 16 to `most` rows.
std::int64_t strip_of(std::int64_t m, std::int64_t n, int log, std::int64_t most) {
  return std::min(m, std::clamp<std::int64_t>((std::int64_t{1} << log) / n, 16, most)) * n;
}

// Trainable values: of the whole, of one block, of the largest Param, of the embedding, of the output projection.
struct Parameters {
  double all = 0, block = 0, largest = 0, words = 0, head = 0;
  void add(double values) {
    all += values;
    largest = std::max(largest, values);
  }
};

void add_adapters(Parameters& p, const std::vector<Linear*>& adapted, const AdapterPlan& plan, double blocks) {
  const bool spp = plan.kind == AdapterPlan::Kind::spp;
  for (const Linear* l : adapted) {
    p.add(double(plan.rank * l->in_features()));
    p.add(double(spp ? l->out_features() : plan.rank * l->out_features()));
  }
  p.block = p.all / blocks;
}

void add_everything(Parameters& p, CausalLM& model) {
  const auto linear = [&p](const Linear& l) {
    p.add(elements(l));
    if (l.bias()) p.add(values_of(*l.bias()));
  };
  model.each_linear(linear);
  p.block = p.all / double(model.all().last);
  model.each_projection(linear);
  model.each_weight([&p](const std::string&, const Weight& w) { p.add(values_of(w)); });
  model.each_matrix([&p](const std::string&, const Matrix& m) {
    const auto& w = *std::get<FrozenWeightPtr>(m);
    p.words = p.head = double(w.out_features() * w.in_features());
    p.add(p.head);
  });
}

Parameters parameters_of(CausalLM& model, const TrainingShape& s, const std::vector<Linear*>& adapted) {
  Parameters p;
  if (s.learning.what == Learning::What::prompt) p.add(double(s.prompt_rows * model.config().word_width));
  else if (s.learning.what == Learning::What::full) add_everything(p, model);
  else add_adapters(p, adapted, s.learning.adapters, double(model.all().last));
  return p;
}

class Estimate {
 public:
  Estimate(CausalLM& model, const TrainingShape& s, const std::optional<StoredAs>& stored)
      : model_(model), c_(model.config()), s_(s), stored_(stored) {
    if (s.learning.what == Learning::What::adapters) {
      (void)adapter_parameters(model, s.learning.adapters);  // checks them
      adapted_ = adapter_targets(model, s.learning.adapters);
    }
    params_ = parameters_of(model, s, adapted_);
    for (int b = 0; b < model.all().last; ++b) {
      const BlockMemory m = block_memory(model.block(b), c_, s.learning, adapted_, s.batch, s.length + s.prompt_rows);
      all_kept_ += m.kept;
      widest_.kept = std::max(widest_.kept, m.kept);
      widest_.forward = std::max(widest_.forward, m.forward);
      widest_.backward = std::max(widest_.backward, m.backward);
      widest_.alone = std::max(widest_.alone, m.alone);
    }
  }

  TrainingMemory run() {
    hold();
    const double d = double(c_.hidden), gradients = kFloat * params_.all,
                 block = kFloat * params_.block / 2;  // of a block in the middle of its backward pass
    // With checkpoints the tape keeps each block's input, and one block at a time as if it were alone.
    const double kept = s_.checkpoint ? d * double(model_.all().last) : all_kept_,
                 others = s_.checkpoint ? kept - d : kept - widest_.kept,
                 backward = s_.checkpoint ? std::max(widest_.forward, widest_.backward) : widest_.backward;
    phase("forward", rows(others + widest_.forward + double(c_.word_width)) + strips_);
    // The last hidden states, their norm, the rows that count, and the gradient of the loss by them.
    phase("loss",
          rows(kept + d + 3 * double(c_.word_width)) + loss_scratch(s_.batch * s_.length) + kFloat * params_.head);
    phase("backward, last block", rows(others + backward) + kFloat * params_.head + block + strips_);
    phase("backward, first block",
          rows(backward) + strips_ + gradients - block - (c_.tied ? 0 : kFloat * params_.words));
    // A tied embedding's gradient has two parts.
    if (params_.words > 0)
      phase("backward, embedding", rows(2 * d) + gradients + (c_.tied ? kFloat * params_.words : 0));
    phase("update", gradients + kFloat * params_.largest);
    if (s_.validation_rows > 0)
      phase("validation", kFloat * double(s_.validation_rows) * widest_.alone + strips_ +
                              loss_scratch(std::min(s_.validation_rows, kMostLoss)));
    return std::move(m_);
  }

 private:
  static constexpr std::int64_t kMostLoss = std::int64_t{1} << 20;

  double rows(double values) const { return kFloat * double(s_.rows()) * values; }
  double loss_scratch(std::int64_t n) const {
    return kFloat * double(cross_entropy_scratch(n, c_.word_width, c_.vocab));
  }
  void phase(const char* what, double bytes) { m_.phases.push_back({what, bytes}); }
  void hold(const char* what, double bytes) {
    if (bytes > 0) m_.held.push_back({what, bytes});
  }

  void hold() {
    double linears = 0, ends = 0;
    const std::string words = model_.ends().embedding_name + ".weight";
    const auto add = [&](double& to, const FrozenWeight& w, const std::optional<StoredAs>& as) {
      to += as ? stored_bytes(double(w.out_features()), double(w.in_features()), *as) : double(stored_bytes(w));
      strips_ =
          std::max(strips_, kFloat * double(threads()) * double(strip_of(w.out_features(), w.in_features(), 18, 512)));
    };
    if (s_.learning.what != Learning::What::full) {  // else nothing stays frozen
      const std::optional<StoredAs> dense = stored_ ? std::optional(StoredAs{}) : std::nullopt;
      model_.each_linear([&](const Linear& l) { add(linears, *l.frozen(), stored_); });
      model_.each_matrix([&](const std::string& name, const Matrix& m) {
        add(name == words && !c_.tied ? m_.embedding : ends, *std::get<FrozenWeightPtr>(m), dense);
      });
      model_.each_projection([&](const Linear& l) { add(ends, *l.frozen(), dense); });
      model_.each_weight([&](const std::string&, const Weight& w) { ends += kFloat * values_of(w); });
    }
    if (s_.learning.adapters.kind == AdapterPlan::Kind::spp && s_.learning.adapters.dropout == 0)
      for (const Linear* l : adapted_)  // a strip of W and the gradient by it: ops/spp.cpp
        strips_ = std::max(strips_, 2 * kFloat * double(strip_of(l->out_features(), l->in_features(), 19, 256)));
    m_.parameters = std::int64_t(params_.all);
    const bool sums = s_.accumulate > 1, keeps_best = s_.validation_rows > 0;
    hold("the linears' weights as stored", linears);
    hold("embedding, once each row was looked up", m_.embedding);
    hold("head, norms", ends);
    hold("trainable values and AdamW's two moments, f32", 3 * kFloat * params_.all);
    hold("the best values so far", keeps_best ? kFloat * params_.all : 0);
    hold("gradients of the batches before", sums ? kFloat * params_.all : 0);
    hold("program", kProgram);
  }

  CausalLM& model_;
  const ModelConfig& c_;
  const TrainingShape& s_;
  const std::optional<StoredAs>& stored_;
  std::vector<Linear*> adapted_;
  Parameters params_;
  double all_kept_ = 0, strips_ = 0;  // strips: of weights, expanded
  BlockMemory widest_;
  TrainingMemory m_;
};

}  // namespace

std::int64_t validation_rows(std::int64_t count, std::int64_t length, std::int64_t prompt_rows) {
  const std::int64_t each = length + prompt_rows, more = std::max<std::int64_t>(0, kRowsPerPass - length) / each;
  return std::min(count, 1 + more) * each;
}

double TrainingMemory::peak() const {
  double sum = 0, most = 0;
  for (const auto& term : held) sum += term.bytes;
  for (const auto& phase : phases) most = std::max(most, phase.bytes);
  return sum + most;
}

TrainingMemory training_memory(CausalLM& model, const TrainingShape& s, const std::optional<StoredAs>& stored) {
  return Estimate(model, s, stored).run();
}

// A product [R, n] x [n, m] is 2 R m n. Forward: one per linear, and of causal attention q kᵀ and p v, half of each.
// Backward: dx, and 2.5 times attention. A linear's weight gradient is one more; an SPP adapter repeats its linear's
// product in both directions. The head: logits and their gradient by h.
double training_flops(CausalLM& model, const TrainingShape& s) {
  const ModelConfig& c = model.config();
  const double R = double(s.rows()), length = double(s.length + s.prompt_rows);
  const bool full = s.learning.what == Learning::What::full;
  double linears = 0, more = 0, head = 0;
  model.each_linear([&](const Linear& l) { linears += 2 * R * elements(l); });
  if (full) more = linears;
  if (s.learning.what == Learning::What::adapters) {
    const AdapterPlan& a = s.learning.adapters;
    for (const Linear* l : adapter_targets(model, a)) {
      const double product = 2 * R * elements(*l),
                   narrow = 2 * R * double(a.rank * (l->out_features() + l->in_features()));
      if (a.kind == AdapterPlan::Kind::lora) more += 3 * narrow;
      else more += a.dropout > 0 ? 2 * product : product;
    }
  }
  model.each_matrix(
      [&](const std::string&, const Matrix&) { head = (full ? 6. : 4.) * R * double(c.vocab) * double(c.word_width); });
  const double attention = 2 * R * length * double(c.heads * c.head_dim) * double(c.layers),
               forward = linears + attention;
  return double(s.accumulate) *
         (forward + linears + 2.5 * attention + more + head + (s.checkpoint ? forward + more / 2 : 0));
}

double measure_training_rate(const FrozenWeight& w, std::int64_t rows, Compute compute) {
  const auto now = [] { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()); };
  const Tensor x = Tensor::full({rows, w.in_features()}, 0.5, DType::f32);
  const auto both = [&] { (void)apply_transposed(w, apply(w, x, {}, compute), compute); };
  both();
  const double flops = 4 * double(rows) * double(w.out_features()) * double(w.in_features());
  const auto start = now();
  for (int runs = 1;; ++runs) {
    both();
    const double seconds = (now() - start).count();
    if (seconds > 0.5) return flops * runs / seconds;
  }
}

}  // namespace sinter
