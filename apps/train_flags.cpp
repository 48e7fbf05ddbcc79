#include "apps/train_flags.h"

#include <algorithm>
#include <sstream>

#include "apps/parts.h"

namespace sinter {
namespace {

std::uint64_t fingerprint(std::span<const Example> examples) {  // FNV-1a over all ids and targets
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const auto& e : examples)
    for (const auto* part : {&e.ids, &e.targets})
      for (const std::int32_t id : *part) h = (h ^ std::uint32_t(id)) * 0x100000001b3ull;
  return h;
}

}  // namespace

void TrainFlags::declare(Flags& f) {
  const auto number = [](auto v) {
    std::ostringstream text;
    text << " (default " << v << ")";
    return text.str();
  };
  f.option("--data", "F", &data, "Training text: plain, or the field text of .jsonl or .json.gz").alias("--dataset");
  f.option("--validation", "F", &validation, "Held-out text: measured during training, the best state is kept");
  f.option("--join", "S", &join, "Between the records of a .jsonl (default one space)");
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
  f.option("--clip", "X", &clip, "Largest norm of the gradient; 0: any" + number(clip)).alias("--max-grad-norm");
  f.option("--weight-decay", "X", &weight_decay, "AdamW's, of matrices" + number(defaults.weight_decay));
  f.option("--eval-every", "N", &evaluate_every, "Steps between validations" + number(evaluate_every))
      .alias("--eval-every-steps")
      .alias("--eval-steps");
  f.option("--budget-seconds", "N", &budget_seconds,
           "Stop after that long, with the best state so far; 0: never (default)");
  f.flag("--grad-checkpoint", grad_checkpoint, "Less memory: run each block again during backward");
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
  require(!lr || *lr > 0, ErrorCode::usage, "--lr", "expected a number above 0, found ", lr.value_or(0));
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
  o.schedule = {.peak = lr.value_or(defaults.lr),
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
  o.snapshot_every = 100;
  o.resume = resume;
  std::ostringstream text;
  text << extra << " steps=" << o.steps << " batch=" << batch << "x" << accumulate
       << " length=" << examples.front().ids.size() << " lr=" << o.schedule.peak << " warmup=" << o.schedule.warmup
       << " clip=" << clip << " decay=" << o.adam.weight_decay << " eval=" << evaluate_every << " seed=" << s.seed
       << " compute=" << int(s.compute) << " data=" << std::hex << fingerprint(examples);
  o.fingerprint = text.str();
  return o;
}

Windows windows_of(const std::string& file, const std::string& join, const Tokenizer& tokenizer, std::int64_t vocab,
                   std::int64_t length) {
  const auto ids = tokenizer.encode(read_text_as_one(file, {false, unescape("--join", join)}));
  check_ids(ids, vocab, ErrorCode::input, file);
  Windows windows = consecutive_windows(ids, length);
  require(!windows.empty(), ErrorCode::input, file, "holds ", ids.size(), " tokens, fewer than one sequence of ",
          length);
  return windows;
}

TrainResult run_training(const CausalLM& model, Task& task, BatchSampler& sampler,
                         const std::function<double()>& validate, const TrainOptions& o, LogSink& log) {
  try {
    return train(
        model, task, [&sampler](std::int64_t step) { return sampler.at(step); }, validate, o, log);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::interrupted) throw;
    fail(ErrorCode::interrupted, "training", "interrupted; the state is in ", o.snapshot.string(),
         ", the same command with --resume goes on");
  }
}

}  // namespace sinter
