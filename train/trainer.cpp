#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <sstream>

#include "train/metrics.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// " (examples 3, 9 of the data)"
std::string named(const std::vector<std::int64_t>& sources) {
  constexpr std::size_t kMost = 16;
  std::string text;
  for (std::size_t i = 0; i < std::min(sources.size(), kMost); ++i)
    if (sources[i] > 0) text += (text.empty() ? " (examples " : ", ") + std::to_string(sources[i]);
  if (text.empty()) return text;
  return text + (sources.size() > kMost ? ", ..." : "") + " of the data)";
}

struct BatchGradients {
  Grads grads;
  double loss = 0;  // nats
  std::int64_t counted = 0, tokens = 0;
  std::vector<std::int64_t> sources;
};

class Loop {
 public:
  Loop(const CausalLM& model, Task& task, const std::function<Batch(std::int64_t)>& batches,
       const std::function<double()>& validate, const TrainOptions& o, LogSink& log)
      : model_(model),
        task_(task),
        batches_(batches),
        validate_(validate),
        o_(o),
        log_(log),
        params_(task.trainable()),
        adam_(params_, o.adam) {}

  TrainResult run() {
    start();
    const double begin = now();
    const std::int64_t tokens = s_.tokens;
    while (!finished(now() - begin)) {
      if (log_.stop_requested()) {
        if (!o_.snapshot.empty()) save();
        log_.check_stop("training");
      }
      advance(begin, tokens);
    }
    const double seconds = now() - begin;
    finish();
    return {.steps = s_.step,
            .last_loss = s_.loss,
            .first_validation = s_.first_validation,
            .best_validation = s_.best,
            .best_step = s_.best_step,
            .out_of_patience = out_of_patience(),
            .seconds = seconds,
            .tokens_per_second = double(s_.tokens - tokens) / std::max(seconds, 1e-9)};
  }

 private:
  bool out_of_patience() const { return o_.patience > 0 && s_.misses >= o_.patience && s_.step < o_.steps; }
  bool finished(double seconds) const {
    return s_.step >= o_.steps || out_of_patience() || (o_.budget_seconds > 0 && seconds >= o_.budget_seconds);
  }

  void start() {
    if (!o_.snapshot.empty()) remove_unfinished(o_.snapshot);
    const bool found = !o_.snapshot.empty() && fs::exists(o_.snapshot);
    if (found && !o_.resume)
      log_.note(o_.snapshot.string() + " of an interrupted run is there; this run starts afresh and will replace it");
    if (found && o_.resume) {
      Snapshot from = load_snapshot(o_.snapshot, o_.settings, params_, adam_);
      s_ = std::move(from.state);
      saved_ = s_.step;
      if (from.free != o_.settings.free)
        log_.warn(o_.snapshot.string() + ": the run goes on with " + o_.settings.free + "; it began with " + from.free);
    }
    metrics_.emplace(o_.metrics, saved_.value_or(-1));
    if (s_.step == 0 && s_.validated < 0) measure();
  }

  // Whether there is a new best.
  bool evaluate() {
    if (!validate_ || s_.validated == s_.step) return false;
    const double v = validate_();
    if (s_.validated < 0) {
      require(std::isfinite(v), ErrorCode::numeric, "training", "the validation loss before step ", s_.step + 1, " is ",
              v, ", not a finite number: the model or the data is at fault");
      s_.first_validation = v;
    }
    s_.validated = s_.step;
    s_.validation = v;
    ++s_.misses;
    if (!(v < s_.best)) return false;
    s_.best = v;
    s_.best_step = s_.step;
    s_.misses = 0;
    s_.best_params.clear();
    for (const Param* p : params_) s_.best_params.push_back(p->value());
    return true;
  }

  // A validation of its own, with no update before it.
  void measure() {
    if (!validate_ || s_.validated == s_.step) return;
    const double begin = now();
    evaluate();
    metrics_->write({.step = s_.step, .tokens = s_.tokens, .validation = s_.validation, .seconds = now() - begin});
  }

  BatchGradients gradients(std::int64_t a) const {
    const Batch batch = batches_(s_.step * o_.accumulate + a);
    BatchGradients r{{}, 0, batch.counted(), std::int64_t(batch.ids.size()), batch.sources};
    Tape tape;
    const Context ctx{.tape = &tape,
                      .rng = Rng{o_.seed}.fork(std::uint64_t(s_.step)).fork(std::uint64_t(a)),
                      .compute = o_.compute,
                      .checkpoint = o_.checkpoint};
    const Var loss = task_.loss(ctx, model_, batch);
    r.loss = double(loss.value().data<float>()[0]);
    if (std::isfinite(r.loss)) r.grads = std::move(tape).backward(loss, Tensor::full({1}, 1, DType::f32));
    return r;
  }

  // One update's gradients: Σ over `accumulate` batches, to be divided by the tokens that counted.
  BatchGradients all_gradients() const {
    BatchGradients all;
    for (std::int64_t a = 0; a < o_.accumulate; ++a) {
      BatchGradients one = gradients(a);
      if (!std::isfinite(one.loss)) refuse("loss", a, one.sources);
      for (const Param* p : params_)
        if (const Tensor* g = one.grads.find(*p)) all.grads.add(*p, *g);
      all.loss += one.loss;
      all.counted += one.counted;
      all.tokens += one.tokens;
    }
    return all;
  }

  void advance(double begin, std::int64_t tokens_before) {
    const double step_begin = now();
    const BatchGradients g = all_gradients();
    const double per_token = 1 / double(g.counted), norm = global_norm(params_, g.grads) * per_token;
    if (!std::isfinite(norm)) refuse_gradient();
    const double clip = o_.clip > 0 && norm > o_.clip ? o_.clip / norm : 1, lr = o_.schedule.at(s_.step);
    adam_.step(g.grads, lr, per_token * clip);
    task_.after_update();
    ++s_.step;
    s_.tokens += g.tokens;
    s_.loss = g.loss * per_token;
    const double seconds = now() - step_begin;

    const bool due = s_.step == o_.steps || (o_.evaluate_every > 0 && s_.step % o_.evaluate_every == 0);
    const bool better = due && evaluate();
    metrics_->write({.step = s_.step,
                     .update = StepMetrics::Update{s_.loss, lr, norm},
                     .tokens = s_.tokens,
                     .validation = s_.validated == s_.step ? std::optional(s_.validation) : std::nullopt,
                     .seconds = now() - step_begin,
                     .tokens_per_second = double(g.tokens) / std::max(seconds, 1e-9)});
    const double rate = double(s_.tokens - tokens_before) / std::max(now() - begin, 1e-9);
    Progress p{.stage = "train", .done = s_.step, .total = o_.steps, .value = s_.loss, .unit = "loss"};
    p.more[0] = {rate, "tokens/s"};
    if (std::isfinite(s_.validation)) p.more[1] = {s_.validation, "validation"};
    log_.progress(p);
    const bool regular = o_.snapshot_every > 0 && s_.step % o_.snapshot_every == 0;
    if (!o_.snapshot.empty() && (better || regular)) save();
  }

  void save() {
    save_snapshot(o_.snapshot, o_.settings, params_, adam_, s_);
    saved_ = s_.step;
  }

  // The last validation and the last snapshot; the best Params, if there is a best.
  void finish() {
    measure();
    const auto sound = [](const Param* p) {
      return std::ranges::all_of(p->value().data<float>(), [](float v) { return std::isfinite(v); });
    };
    const auto broken = std::ranges::find_if_not(params_, sound);
    if (broken == params_.end()) save_last();
    require(broken == params_.end() || !s_.best_params.empty(), ErrorCode::numeric, "training", "a value of ",
            broken == params_.end() ? "" : (*broken)->name(), " is not finite after step ", s_.step, way_out());
    for (std::size_t k = 0; k < s_.best_params.size(); ++k) params_[k]->assign(s_.best_params[k]);
  }

  void save_last() {
    if (o_.snapshot.empty() || saved_ == s_.step) return;
    try {
      save();
    } catch (const Error& e) {  // the result is smaller and may still fit
      log_.warn(e.what());
    }
  }

  [[noreturn]] void refuse(const char* what, std::int64_t a, const std::vector<std::int64_t>& sources) const {
    fail(ErrorCode::numeric, "training", "the ", what, " of step ", s_.step + 1, ", batch ", a + 1, named(sources),
         ", is not finite", way_out());
  }

  [[noreturn]] void refuse_gradient() const {
    std::vector<std::int64_t> all;
    for (std::int64_t a = 0; a < o_.accumulate; ++a) {
      const BatchGradients one = gradients(a);
      if (!std::isfinite(global_norm(params_, one.grads))) refuse("gradient", a, one.sources);
      all.insert(all.end(), one.sources.begin(), one.sources.end());
    }
    refuse("gradient", o_.accumulate - 1, all);  // each is finite, their sum is not
  }

  // What can be done after a failure: an earlier state with other settings, or its result.
  std::string way_out() const {
    if (s_.step == 0) return "; nothing was learned before it: the model or the data is at fault";
    if (saved_.value_or(0) == 0) return "; no earlier state was saved: start again, perhaps with a lower --lr";
    std::ostringstream text;
    text << "; " << o_.snapshot.string() << " holds the state of step " << *saved_
         << ": --resume goes on from it, perhaps with a lower --lr; --resume --steps " << *saved_ << " writes ";
    if (s_.best_params.empty()) text << "what was learned until then";
    else text << "the best so far, of step " << s_.best_step << " (validation loss " << s_.best << ")";
    return text.str();
  }

  const CausalLM& model_;
  Task& task_;
  const std::function<Batch(std::int64_t)>& batches_;
  const std::function<double()>& validate_;
  const TrainOptions& o_;
  LogSink& log_;
  std::vector<Param*> params_;
  AdamW adam_;
  TrainState s_;
  std::optional<std::int64_t> saved_;  // the step of the snapshot on disk, if it is this run's
  std::optional<MetricsFile> metrics_;
};

}  // namespace

TrainResult train(const CausalLM& model, Task& task, const std::function<Batch(std::int64_t)>& batches,
                  const std::function<double()>& validate, const TrainOptions& o, LogSink& log) {
  return Loop(model, task, batches, validate, o, log).run();
}

}  // namespace sinter
