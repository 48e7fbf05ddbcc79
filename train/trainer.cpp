#include "train/trainer.h"

#include <chrono>
#include <cmath>

namespace sinter {
namespace {

namespace fs = std::filesystem;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Everything that a later run needs to go on as if nothing had happened.
struct State {
  std::int64_t step = 0, best_step = 0;
  double first_validation = NAN, best = INFINITY;
  std::vector<Tensor> best_params;
};

std::string exact(double v) {
  char text[40];
  std::snprintf(text, sizeof text, "%a", v);
  return text;
}

void save_snapshot(const fs::path& path, const TrainOptions& o, const std::vector<Param*>& params, const AdamW& adam,
                   const State& s) {
  NamedTensors t;
  for (std::size_t k = 0; k < params.size(); ++k) {
    t.emplace_back("param." + std::to_string(k), params[k]->value());
    if (!s.best_params.empty()) t.emplace_back("best." + std::to_string(k), s.best_params[k]);
  }
  adam.save(t);
  write_tensors(path, t,
                {{"sinter.step", std::to_string(s.step)},
                 {"sinter.best_step", std::to_string(s.best_step)},
                 {"sinter.first_validation", exact(s.first_validation)},
                 {"sinter.best", exact(s.best)},
                 {"sinter.fingerprint", o.fingerprint}});
}

State load_snapshot(const fs::path& path, const TrainOptions& o, const std::vector<Param*>& params, AdamW& adam) {
  const TensorFile file(path);
  const auto& meta = file.metadata();
  const auto field = [&](const char* key) {
    const auto it = meta.find(key);
    require(it != meta.end(), ErrorCode::input, path.string(), "metadata ", key, " is missing");
    return it->second;
  };
  require(field("sinter.fingerprint") == o.fingerprint, ErrorCode::input, path.string(),
          "was made by other settings: ", field("sinter.fingerprint"), "; now: ", o.fingerprint);
  State s{std::stoll(field("sinter.step")),
          std::stoll(field("sinter.best_step")),
          std::strtod(field("sinter.first_validation").c_str(), nullptr),
          std::strtod(field("sinter.best").c_str(), nullptr),
          {}};
  for (std::size_t k = 0; k < params.size(); ++k) {
    params[k]->assign(file.tensor("param." + std::to_string(k)).clone());
    if (file.has("best." + std::to_string(k)))
      s.best_params.push_back(file.tensor("best." + std::to_string(k)).clone());
  }
  adam.load(file, s.step);
  return s;
}

struct StepResult {
  Grads grads;
  double loss = 0;  // nats per counted token
  std::int64_t counted = 0, tokens = 0;
};

// One update's gradients: Σ over `accumulate` batches, to be divided by the tokens that counted.
StepResult gradients(const CausalLM& model, Task& task, const std::function<Batch(std::int64_t)>& batches,
                     const TrainOptions& o, std::int64_t step) {
  StepResult r;
  for (std::int64_t a = 0; a < o.accumulate; ++a) {
    const Batch batch = batches(step * o.accumulate + a);
    Tape tape;
    const Context ctx{.tape = &tape,
                      .rng = Rng{o.seed}.fork(std::uint64_t(step)).fork(std::uint64_t(a)),
                      .compute = o.compute,
                      .checkpoint = o.checkpoint};
    const Var loss = task.loss(ctx, model, batch);
    const double value = double(loss.value().data<float>()[0]);
    require(std::isfinite(value), ErrorCode::numeric, "training", "the loss of step ", step + 1, ", batch ", a + 1,
            " is not finite");
    Grads g = std::move(tape).backward(loss, Tensor::full({1}, 1, DType::f32));
    for (Param* p : task.trainable())
      if (const Tensor* t = g.find(*p)) r.grads.add(*p, *t);
    r.loss += value;
    r.counted += batch.counted();
    r.tokens += std::int64_t(batch.ids.size());
  }
  r.loss /= double(r.counted);
  return r;
}

}  // namespace

TrainResult train(const CausalLM& model, Task& task, const std::function<Batch(std::int64_t)>& batches,
                  const std::function<double()>& validate, const TrainOptions& o, LogSink& log) {
  const std::vector<Param*> params = task.trainable();
  AdamW adam(params, o.adam);
  State s;
  const bool resumed = o.resume && !o.snapshot.empty() && fs::exists(o.snapshot);
  if (resumed) s = load_snapshot(o.snapshot, o, params, adam);

  const auto evaluate = [&] {
    if (!validate) return;
    const double v = validate();
    if (std::isnan(s.first_validation)) s.first_validation = v;
    if (!(v < s.best)) return;
    s.best = v;
    s.best_step = s.step;
    s.best_params.clear();
    for (const Param* p : params) s.best_params.push_back(p->value());
  };

  if (!resumed) evaluate();
  const double start = now();
  const std::int64_t first = s.step;
  std::int64_t tokens = 0;
  TrainResult r;
  while (s.step < o.steps && (o.budget_seconds <= 0 || now() - start < o.budget_seconds)) {
    if (log.stop_requested()) {
      if (!o.snapshot.empty()) save_snapshot(o.snapshot, o, params, adam, s);
      log.check_stop("training");
    }
    StepResult g = gradients(model, task, batches, o, s.step);
    const double per_token = 1 / double(g.counted), norm = global_norm(params, g.grads) * per_token;
    const double clip = o.clip > 0 && norm > o.clip ? o.clip / norm : 1;
    adam.step(g.grads, o.schedule.at(s.step), per_token * clip);
    task.after_update();
    ++s.step;
    tokens += g.tokens;
    r.last_loss = g.loss;
    log.progress({"train", s.step, o.steps, g.loss, "loss"});
    if (o.evaluate_every > 0 && s.step % o.evaluate_every == 0 && s.step < o.steps) evaluate();
    if (o.snapshot_every > 0 && s.step % o.snapshot_every == 0) save_snapshot(o.snapshot, o, params, adam, s);
  }
  r.seconds = now() - start;
  r.tokens_per_second = double(tokens) / std::max(r.seconds, 1e-9);
  if (s.step > first || resumed) evaluate();
  if (validate)
    for (std::size_t k = 0; k < params.size(); ++k) params[k]->assign(s.best_params[k]);
  if (!o.snapshot.empty()) fs::remove(o.snapshot);
  r.steps = s.step;
  r.first_validation = s.first_validation;
  r.best_validation = s.best;
  r.best_step = s.best_step;
  return r;
}

}  // namespace sinter
