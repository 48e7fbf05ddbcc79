#include "train/trainer.h"

#include <nlohmann/json.hpp>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "core/json.h"
#include "models/checkpoint.h"
#include "test/check.h"
#include "test/file_size_limit.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"
#include "train/prompt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

// Sequences of unequal lengths below the golden models' vocabulary, the last third of each in the loss.
std::vector<Example> unequal(std::size_t count) {
  std::vector<Example> examples;
  for (std::size_t i = 0; i < count; ++i) {
    Example e;
    const std::size_t length = 6 + (5 * i) % 11;
    const Rng rng = Rng{11}.fork(i);
    for (std::size_t t = 0; t < length; ++t) e.ids.push_back(std::int32_t(rng.below(t, 97)));
    for (std::size_t t = 1; t <= length; ++t) e.targets.push_back(t == length || 3 * t < 2 * length ? -1 : e.ids[t]);
    e.source = std::int64_t(i) + 1;
    examples.push_back(std::move(e));
  }
  return examples;
}

const CausalLM& tiny_llama() {
  static const auto model = load_model(golden("models/llama_gqa_tied"));
  return *model;
}

Tensor start_prompt() { return random_prompt(tiny_llama(), 3, Rng{3}); }

// A warning or note is kept; a stop is asked for after `stop` steps.
struct Listening final : LogSink {
  void note(std::string_view text) override { notes += text; }
  void warn(std::string_view text) override { warnings += text; }
  void progress(const Progress& p) override { done = p.done; }
  bool stop_requested() const override { return stop >= 0 && done >= stop; }
  std::int64_t stop = -1, done = 0;
  std::string notes, warnings;
};

// A run of a prompt on unequal examples, with its files in a directory of its own.
struct Run {
  TempDir dir;
  Listening log;
  TrainOptions o{.steps = 12,
                 .evaluate_every = 3,
                 .schedule = {.peak = 0.05, .warmup = 2, .steps = 12},
                 .snapshot = dir / "state",
                 .metrics = dir / "metrics.jsonl"};
  std::int64_t batch = 2;
  std::function<double()> validate;
  std::unique_ptr<Task> own;  // else a prompt

  TrainResult operator()(Task& task) {
    BatchSampler sampler(unequal(8), batch, 7);
    return train(
        tiny_llama(), task, [&](std::int64_t s) { return sampler.at(s); }, validate, o, log);
  }
  Tensor prompt() {
    PromptTask task(start_prompt());
    validate = [&] { return mean_nll(tiny_llama(), unequal(3), task.prompt(), o.compute); };
    (*this)(task);
    return task.prompt();
  }
  std::vector<Json> metrics() const {
    std::vector<Json> lines;
    std::istringstream in(read_text(o.metrics));
    for (std::string line; std::getline(in, line);) lines.push_back(parse_json(line, "metrics"));
    for (Json& l : lines) {
      CHECK(l["seconds"].get<double>() >= 0);
      l.erase("seconds");
      l.erase("tokens_per_second");
    }
    return lines;
  }
};

// x -> x, whose gradient is not a number.
struct BadGradient {
  static constexpr std::string_view name = "bad_gradient";
  static constexpr std::size_t arity = 1;
  using Saved = Shape;
  static Cotangents<1> vjp(const Saved& shape, const Tensor&, Needs<1>) {
    return {Tensor::full(shape, NAN, DType::f32)};
  }
};

// A prompt whose loss, or its gradient, breaks for one example from some update on.
class Breaking final : public Task {
 public:
  Breaking(std::int64_t example, std::int64_t update, bool gradient)
      : inner_(start_prompt()), example_(example), update_(update), gradient_(gradient) {}
  std::vector<Param*> trainable() override { return inner_.trainable(); }
  void after_update() override { ++updates_; }
  Var loss(const Context& ctx, const CausalLM& model, const Batch& batch) const override {
    const Var loss = inner_.loss(ctx, model, batch);
    if (updates_ < update_ || !std::ranges::count(batch.sources, example_)) return loss;
    return record<BadGradient>({loss}, gradient_ ? loss.value().clone() : Tensor::full({1}, INFINITY, DType::f32), {1});
  }

 private:
  PromptTask inner_;
  std::int64_t example_, update_, updates_ = 0;
  bool gradient_;
};

}  // namespace

TEST_CASE("a batch of unequal sequences has the loss and the gradient of its sequences alone, so it needs no padding") {
  for (const char* name : {"models/llama_gqa_tied", "models/opt_post_norm_proj"}) {
    CAPTURE(name);
    const auto model = load_model(golden(name));
    PromptTask task(random_prompt(*model, 3, Rng{3}));
    const auto examples = unequal(4);
    const auto measure = [&](std::vector<const Example*> chosen) {
      Tape tape;
      const Var loss = task.loss(Context{.tape = &tape}, *model, batch_of(chosen));
      const double value = double(loss.value().data<float>()[0]);
      Grads g = std::move(tape).backward(loss, Tensor::full({1}, 1, DType::f32));
      return std::pair(value, *g.find(*task.trainable()[0]));
    };
    const auto [loss, gradient] = measure({&examples[0], &examples[1], &examples[2], &examples[3]});
    double sum = 0;
    Tensor gradients;
    for (const auto& e : examples) {
      const auto [l, g] = measure({&e});
      sum += l;
      Grads::sum_into(gradients, g);
    }
    CHECK(loss == doctest::Approx(sum).epsilon(1e-6));
    CHECK(nmse(gradient, gradients) < 1e-11);  // f32 sums in another order
  }
}

TEST_CASE("two batches of two accumulated are one of four: each token counts alike, whatever batch it is in") {
  Run accumulated, whole;
  accumulated.o.accumulate = 2;
  whole.batch = 4;
  for (Run* r : {&accumulated, &whole}) {
    r->o.adam.eps = 1;  // updates near lr · g, far from lr · sign(g), which rounding would turn
    r->o.steps = 3;  // the rounding of f32 sums grows from step to step
  }
  CHECK(distance(accumulated.prompt(), whole.prompt()) < 1e-7);  // 3 steps of lr 0.05, rounding of g 3e-7
  const auto a = accumulated.metrics(), b = whole.metrics();
  REQUIRE(a.size() == 4);
  REQUIRE(b.size() == 4);
  for (std::size_t i = 1; i < a.size(); ++i) {
    CHECK(a[i]["tokens"] == b[i]["tokens"]);
    for (const char* key : {"loss", "gradient_norm"})
      CHECK(a[i][key].get<double>() == doctest::Approx(b[i][key].get<double>()).epsilon(1e-5));
  }
}

TEST_CASE("metrics: a line per step with loss, rate, norm and tokens, and the validations from the start on") {
  Run run;
  run.prompt();
  const auto lines = run.metrics();
  REQUIRE(lines.size() == 13);
  CHECK(lines[0].size() == 3);  // step, tokens, validation_nll
  std::int64_t tokens = 0;
  BatchSampler sampler(unequal(8), 2, 7);
  for (std::int64_t i = 0; i <= 12; ++i) {
    const Json& line = lines[std::size_t(i)];
    CHECK(line["step"] == i);
    CHECK(line.contains("validation_nll") == (i % 3 == 0));
    if (i == 0) continue;
    tokens += std::int64_t(sampler.at(i - 1).ids.size());
    CHECK(line["tokens"] == tokens);
    CHECK(line["lr"] == run.o.schedule.at(i - 1));
    CHECK(line["gradient_norm"].get<double>() > 0);
  }
  CHECK(lines[12]["validation_nll"].get<double>() < lines[0]["validation_nll"].get<double>());
}

TEST_CASE("an interrupted run goes on with the same bits, and its metrics are those of the uninterrupted one") {
  Run whole;
  const Tensor want = whole.prompt();
  for (const std::int64_t stop : {0, 1, 5, 6, 11}) {
    CAPTURE(stop);
    Run run;
    run.log.stop = stop;
    CHECK_THROWS_CODE(interrupted, run.prompt());
    // What a killed run may have written after its snapshot, the last line cut off.
    write_text_atomic(run.o.metrics, read_text(run.o.metrics) + "{\"step\":12,\"loss\":1}\n{\"step\":");
    write_text_atomic(run.dir / "state.tmp77.0", "half a snapshot");
    run.log.stop = -1;
    run.o.resume = true;
    CHECK(same_bits(run.prompt(), want));
    CHECK(!fs::exists(run.dir / "state.tmp77.0"));
    CHECK(run.metrics() == whole.metrics());
    CHECK(run.log.warnings.empty());
  }
}

TEST_CASE("a run starts afresh over the state of another unless it resumes, and says so") {
  Run run;
  run.prompt();
  CHECK(fs::exists(run.o.snapshot));  // the result is not safe yet
  run.prompt();
  CHECK(run.log.notes.find("starts afresh") != std::string::npos);
  CHECK(run.metrics().size() == 13);
  run.o.resume = true;
  run.o.settings.free = "lr=2";
  run.prompt();
  CHECK(run.log.warnings.find("goes on with lr=2") != std::string::npos);
  run.o.settings.fixed = "other data";
  CHECK_THROWS_TEXT(input, "other settings", run.prompt());
}

TEST_CASE(
    "a loss or gradient that is not finite ends the run with step, batch and example, and a state to go on from") {
  for (const bool gradient : {false, true}) {
    Run run;
    run.o.accumulate = 2;
    run.o.snapshot_every = 4;
    BatchSampler sampler(unequal(8), 2, 7);
    const std::int64_t victim = sampler.at(2 * 6 + 1).sources[0];  // in the second batch of step 7
    const std::string what =
        gradient ? "the gradient of step 7, batch 2 (examples " : "the loss of step 7, batch 2 (examples ";
    Breaking broken(victim, 6, gradient);
    double score = 9;
    run.validate = [&] { return --score; };
    CHECK_THROWS_TEXT(numeric, what + std::to_string(victim), run(broken));
    Breaking again(victim, 6, gradient);
    CHECK_THROWS_TEXT(numeric, "state of step 6", run(again));  // a new best at step 6 came after the one of step 4
    CHECK(run.metrics().size() == 7);
    // What the message offers: the best so far.
    run.o.resume = true;
    run.o.steps = 6;
    Breaking sound(victim, 99, gradient);
    const TrainResult r = run(sound);
    CHECK(r.steps == 6);
    CHECK(r.best_step == 6);
    CHECK(same_bits(sound.trainable()[0]->value(), again.trainable()[0]->value()));
  }
}

TEST_CASE("what cannot be learned at all is told apart") {
  Run run;
  const std::int64_t any = BatchSampler(unequal(8), 2, 7).at(0).sources[0];
  Breaking first(any, 0, false);
  CHECK_THROWS_TEXT(numeric, "the model or the data is at fault", run(first));
  CHECK(!fs::exists(run.o.snapshot));
  Breaking second(BatchSampler(unequal(8), 2, 7).at(1).sources[1], 1, false);
  CHECK_THROWS_TEXT(numeric, "no earlier state was saved", run(second));
  run.validate = [] { return NAN; };
  CHECK_THROWS_TEXT(numeric, "validation loss", run(first));
  run.validate = {};
  PromptTask task(start_prompt());
  run.o.steps = 1;
  run.o.schedule = {.peak = 1e39, .steps = 1};
  CHECK_THROWS_TEXT(numeric, "prompt_embeddings is not finite after step 1", run(task));
}

TEST_CASE("patience: the run stops after so many validations without a new best, also when it is resumed there") {
  for (const bool resumed : {false, true}) {
    Run run;
    PromptTask task(start_prompt());
    const std::vector<double> scores{5, 4, 3, 3.5, 3, 2};
    std::size_t at = 0;
    std::vector<Tensor> seen;
    run.validate = [&] {
      seen.push_back(task.prompt());
      return scores.at(at++);
    };
    run.o.evaluate_every = 2;
    run.o.patience = 2;
    if (resumed) {
      run.log.stop = 7;
      CHECK_THROWS_CODE(interrupted, run(task));
      run.log.stop = -1;
      run.o.resume = true;
    }
    const TrainResult r = run(task);
    CHECK(r.steps == 8);
    CHECK(r.out_of_patience);
    CHECK(r.best_step == 4);
    CHECK(r.best_validation == 3);
    CHECK(r.first_validation == 5);
    CHECK(same_bits(task.prompt(), seen[2]));
  }
}

TEST_CASE("a snapshot that is damaged or does not fit is refused, whatever it says") {
  Run run;
  run.log.stop = 5;
  CHECK_THROWS_CODE(interrupted, run.prompt());
  run.log.stop = -1;
  run.o.resume = true;
  const std::string good = read_text(run.o.snapshot);
  NamedTensors tensors;
  std::map<std::string, std::string> meta;
  {
    const TensorFile file(run.o.snapshot);
    for (const auto& name : file.names()) tensors.emplace_back(name, file.tensor(name).clone());
    meta = file.metadata();
  }
  for (const char* state :
       {"", "{}", "[]", "x", R"({"version":1,"step":99999999999999999999,"tokens":1,"loss":1})",
        R"({"version":1,"step":-1,"tokens":1,"loss":1})", R"({"version":2,"step":1,"tokens":1,"loss":1})",
        R"({"version":1,"step":1,"tokens":1,"loss":"nan"})",
        R"({"version":1,"step":1,"tokens":1,"loss":1,"validated":5,"best_step":0,"misses":0})"}) {
    CAPTURE(state);
    auto changed = meta;
    changed["sinter.state"] = state;
    write_tensors(run.o.snapshot, tensors, changed);
    CHECK_THROWS_TEXT(input, "state", run.prompt());
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    CAPTURE(tensors[i].first);
    for (const Tensor& t : {Tensor(), Tensor::zeros({3, 5}, DType::f32), cast(tensors[i].second, DType::f16)}) {
      NamedTensors changed = tensors;
      if (t) changed[i].second = t;
      else changed.erase(changed.begin() + std::ptrdiff_t(i));
      write_tensors(run.o.snapshot, changed, meta);
      CHECK_THROWS_TEXT(input, tensors[i].first, run.prompt());
    }
  }
  meta.erase("sinter.fixed");
  write_tensors(run.o.snapshot, tensors, meta);
  CHECK_THROWS_TEXT(input, "sinter.fixed", run.prompt());
  write_text_atomic(run.o.snapshot, good.substr(0, good.size() - 7));
  CHECK_THROWS_CODE(input, run.prompt());
}

TEST_CASE("in bf16 the products are rounded, the parameters and the optimiser stay f32") {
  Run exact, rounded;
  rounded.o.compute = Compute::bf16;
  const Tensor a = exact.prompt(), b = rounded.prompt();
  CHECK(b.dtype() == DType::f32);
  CHECK(distance(a, b) > 0);
  CHECK(exact.metrics()[1]["loss"].get<double>() ==
        doctest::Approx(rounded.metrics()[1]["loss"].get<double>()).epsilon(0.01));  // 8 bits of each factor
  const TensorFile file(rounded.o.snapshot);
  std::size_t fine = 0;
  for (const auto& name : file.names()) {
    CHECK(file.tensor(name).dtype() == DType::f32);
    for (const float v : file.tensor(name).data<float>()) fine += v != to_float(from_float<bf16>(v));
  }
  CHECK(fine > 0);
}

TEST_CASE("a full disk: the last state that fitted stays, and the result is returned all the same") {
  Run run;
  run.o.snapshot_every = 0;
  run.o.metrics.clear();
  PromptTask task(start_prompt());
  const FileSizeLimit limit(64);
  CHECK(run(task).steps == 12);
  CHECK(run.log.warnings.find("state") != std::string::npos);
  CHECK(!fs::exists(run.o.snapshot));
  run.o.snapshot_every = 5;
  CHECK_THROWS_CODE(io, run(task));
}
