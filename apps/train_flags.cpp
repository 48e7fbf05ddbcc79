#include "apps/train_flags.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "apps/parts.h"
#include "core/fnv.h"

namespace sinter {
namespace {

std::string fingerprint(std::span<const Example> examples) {
  Fnv64 hash;
  for (const auto& e : examples)
    for (const auto* part : {&e.ids, &e.targets}) {
      hash.add({reinterpret_cast<const char*>(part->data()), part->size() * sizeof(std::int32_t)});
      hash.add("|");
    }
  return hash.hex();
}

Schedule::Decay decay_of(const std::string& name) {
  if (name == "constant") return Schedule::Decay::constant;
  return name == "cosine" ? Schedule::Decay::cosine : Schedule::Decay::linear;
}

}  // namespace

void TrainFlags::declare(Flags& f) {
  const auto number = [](auto v) {
    std::ostringstream text;
    text << " (default " << v << ")";
    return text.str();
  };
  f.option("--data", "F", &data, defaults.data).alias("--dataset");
  f.option("--validation", "F", &validation, "Held-out text: measured during training, the best state is kept");
  f.option("--join", "S", &join, "Between the records of a .jsonl (default one space; \"\": nothing)");
  f.option("--steps", "N", &steps, "Updates" + number(defaults.steps)).alias("--max-steps").alias("--iters");
  f.option("--batch", "B", &batch, "Sequences per pass" + number(batch))
      .alias("--batch-size")
      .alias("--per-device-train-batch-size");
  f.option("--accumulate", "N", &accumulate, "Passes per update (default 1)").alias("--gradient-accumulation-steps");
  f.option("--seq-len", "T", &seq_len, "Tokens per sequence (default: 1024 or what the model's positions leave)")
      .alias("--seqlen")
      .alias("--cutoff")
      .alias("--cutoff-len");
  f.option("--lr", "X", &lr, "Peak learning rate" + number(defaults.lr)).alias("--learning-rate").alias("--prompt-lr");
  f.option("--warmup", "N", &warmup, "Steps of linear warm-up (default: 500 or a tenth of the steps)")
      .alias("--warmup-steps");
  f.option("--schedule", "linear|cosine|constant", &schedule,
           "The learning rate after the warm-up (default " + defaults.schedule + ")")
      .alias("--lr-scheduler-type")
      .alias("--decay")
      .one_of({"linear", "cosine", "constant"});
  f.option("--clip", "X", &clip, "Largest norm of the gradient; 0: any" + number(clip)).alias("--max-grad-norm");
  f.option("--weight-decay", "X", &weight_decay, "AdamW's, of matrices" + number(defaults.weight_decay));
  f.option("--eval-every", "N", &evaluate_every, "Steps between validations" + number(evaluate_every))
      .alias("--eval-every-steps")
      .alias("--eval-steps");
  f.option("--patience", "N", &patience, "Stop after N validations without a new best; 0: never (default)")
      .alias("--early-stopping-patience");
  f.option("--budget-seconds", "N", &budget_seconds,
           "Stop after that long, with the best state so far; 0: never (default)");
  f.flag("--grad-checkpoint", grad_checkpoint, "Less memory: run each block again during backward");
  f.option("--snapshot-every", "N", &snapshot_every,
           "Steps between states in OUT.state, for --resume; 0: only on an interrupt" + number(snapshot_every))
      .alias("--save-every")
      .alias("--save-steps");
  f.flag("--resume", resume, "Go on from OUT.state of an interrupted run; without one, start afresh");
}

void TrainFlags::check() const {
  const auto positive = [](const char* flag, std::int64_t v) {
    require(v >= 1, ErrorCode::usage, flag, "expected 1 or more, found ", v);
  };
  require(!data.empty(), ErrorCode::usage, "--data", "is missing");
  positive("--steps", steps.value_or(1));
  positive("--batch", batch);
  positive("--accumulate", accumulate);
  positive("--eval-every", evaluate_every);
  require(!seq_len || *seq_len >= 2, ErrorCode::usage, "--seq-len", "expected 2 or more, found ", seq_len.value_or(0));
  require(!warmup || *warmup >= 0, ErrorCode::usage, "--warmup", "expected 0 or more, found ", warmup.value_or(0));
  require(!lr || (*lr > 0 && std::isfinite(*lr)), ErrorCode::usage, "--lr", "expected a number above 0, found ",
          lr.value_or(0));
  require(patience >= 0, ErrorCode::usage, "--patience", "expected 0 or more, found ", patience);
  require(snapshot_every >= 0, ErrorCode::usage, "--snapshot-every", "expected 0 or more, found ", snapshot_every);
  require(clip >= 0, ErrorCode::usage, "--clip", "expected 0 or more, found ", clip);
  require(!weight_decay || *weight_decay >= 0, ErrorCode::usage, "--weight-decay", "expected 0 or more, found ",
          weight_decay.value_or(0));
  require(budget_seconds >= 0, ErrorCode::usage, "--budget-seconds", "expected 0 or more, found ", budget_seconds);
}

TrainOptions TrainFlags::options(const Session& s, const std::filesystem::path& out, std::span<const Example> examples,
                                 const std::string& extra) const {
  TrainOptions o;
  o.steps = steps.value_or(defaults.steps);
  o.accumulate = accumulate;
  o.evaluate_every = evaluate_every;
  o.patience = patience;
  o.schedule = {.decay = decay_of(schedule.value_or(defaults.schedule)),
                .peak = lr.value_or(defaults.lr),
                .warmup = warmup.value_or(std::min<std::int64_t>(500, o.steps / 10)),
                .steps = o.steps};
  o.adam.weight_decay = weight_decay.value_or(defaults.weight_decay);
  o.clip = clip;
  o.checkpoint = grad_checkpoint;
  o.compute = s.compute;
  o.seed = s.seed;
  o.budget_seconds = budget_seconds;
  const auto name = out.has_filename() ? out : out.parent_path();
  o.snapshot = name.string() + ".state";
  o.metrics = name.string() + ".metrics.jsonl";
  o.snapshot_every = snapshot_every;
  o.resume = resume;
  std::ostringstream fixed, free;
  fixed << extra << " batch=" << batch << "x" << accumulate << " seed=" << s.seed << " compute=" << int(s.compute)
        << " validation=" << validation << " data=" << fingerprint(examples);
  free << "steps=" << o.steps << " lr=" << o.schedule.peak << " warmup=" << o.schedule.warmup
       << " schedule=" << schedule.value_or(defaults.schedule) << " clip=" << clip << " decay=" << o.adam.weight_decay
       << " eval=" << evaluate_every << " patience=" << patience;
  o.settings = {fixed.str(), free.str()};
  return o;
}

Windows windows_of(const std::string& file, const std::optional<std::string>& join, const Tokenizer& tokenizer,
                   std::int64_t vocab, std::int64_t length) {
  const auto ids = tokenizer.encode(read_text_as_one(file, {false, join_text(join)}));
  check_ids(ids, vocab, ErrorCode::input, file);
  Windows windows = consecutive_windows(ids, length);
  require(!windows.empty(), ErrorCode::input, file, "holds ", ids.size(), " tokens, fewer than one sequence of ",
          length);
  return windows;
}

TrainResult run_training(const CausalLM& model, Task& task, BatchSampler& sampler,
                         const std::function<double()>& validate, const TrainOptions& o, LogSink& log,
                         const std::function<void(const TrainResult&)>& save) {
  require(o.patience == 0 || validate, ErrorCode::usage, "--patience", "needs held-out data to validate on");
  TrainResult r;
  std::error_code ignored;
  try {
    r = train(
        model, task, [&sampler](std::int64_t step) { return sampler.at(step); }, validate, o, log);
    save(r);
  } catch (const Error& e) {
    const bool resumable = e.code() == ErrorCode::interrupted || e.code() == ErrorCode::io;
    if (!resumable || !std::filesystem::exists(o.snapshot, ignored)) throw;
    const std::string text = e.what();  // "where: what"
    const auto where = text.find(": ");
    fail(e.code(), text.substr(0, where), text.substr(where + 2), "; the state is in ", o.snapshot.string(),
         ", the same command with --resume goes on from there");
  }
  std::filesystem::remove(o.snapshot, ignored);
  return r;
}

}  // namespace sinter
