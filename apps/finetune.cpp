// sinter finetune: recovers what compression took, by SPP, LoRA, or training all weights.
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/parts.h"
#include "apps/training_plan.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "models/shape_model.h"
#include "train/adapter_file.h"
#include "train/data/instructions.h"
#include "train/full.h"

namespace sinter {
namespace {

struct Data {
  std::vector<Example> learning, held_out;
};

class Finetune final : public Command {
 public:
  void declare(Flags& f) override {
    train_.batch = 8;
    train_.defaults.data =
        "Instructions in .json or .jsonl (instruction, input, output; or prompt, completion), or text: plain, or the "
        "field text of .jsonl or .json.gz";
    declare_model(f, model_, "; with --dry-run a config.json is enough");
    f.option("--method", "spp|lora|full", &method_,
             "spp: factors on rows and columns that keep every zero; lora: a low-rank correction; full: all weights")
        .required()
        .one_of({"spp", "lora", "full"});
    f.option("--out", "DIR", &out_, "Where the adapter goes, or with full the model").alias("-o").alias("--output-dir");
    f.option("--rank", "R", &rank_,
             "Rows of the factors (default: spp 16, lora 8); for spp it divides each linear's rows")
        .alias("-r")
        .alias("--lora-r");
    f.option("--scale", "X", &scale_, "Of the correction (default 2)");
    f.option("--alpha", "X", &alpha_, "For lora instead of --scale: scale = alpha / rank").alias("--lora-alpha");
    f.flag("--rslora", rslora_, "scale = alpha / sqrt(rank)");
    f.option("--dropout", "X", &dropout_, "Of the correction's input (default 0.05; 0 makes SPP steps faster)")
        .alias("--lora-dropout");
    f.option("--targets", "LIST", &targets_,
             "Linears by the ends of their names (q_proj,v_proj) or by a regular expression (default: all)")
        .alias("--target-modules");
    f.option("--epochs", "N", &epochs_, "Passes over the data, unless --steps is given (default 3)")
        .alias("--num-epochs");
    f.flag("--train-on-inputs", train_on_inputs_, "The whole example is in the loss (default)");
    f.flag("--mask-inputs", mask_inputs_, "Only the answers are in the loss");
    f.option("--val-size", "N", &val_size_, "Without --validation: that many examples are held out (default 0)");
    f.flag("--keep-mask", keep_mask_, "With full: weights that are zero stay zero");
    train_.declare(f);
    memory_.declare(f);
  }

  void check() const override {
    if (!memory_.dry_run()) train_.check();
    require(memory_.dry_run() || !out_.empty(), ErrorCode::usage, "finetune", "--out is missing");
    require(!(train_on_inputs_ && mask_inputs_), ErrorCode::usage, "finetune",
            "--train-on-inputs and --mask-inputs exclude each other");
    require(!(scale_ && alpha_), ErrorCode::usage, "finetune", "--scale and --alpha exclude each other");
    require(method_ == "lora" || !(alpha_ || rslora_), ErrorCode::usage, "finetune",
            "--alpha and --rslora are for lora");
    require(!rslora_ || alpha_, ErrorCode::usage, "--rslora", "needs --alpha");
    require(method_ == "full" || !keep_mask_, ErrorCode::usage, "--keep-mask",
            "is for full; spp keeps every zero anyway");
    require(epochs_ >= 1, ErrorCode::usage, "--epochs", "expected 1 or more, found ", epochs_);
    require(val_size_ >= 0, ErrorCode::usage, "--val-size", "expected 0 or more, found ", val_size_);
    require(dropout_ >= 0 && dropout_ < 1, ErrorCode::usage, "--dropout", "expected 0 or more and less than 1, found ",
            dropout_);
    memory_.check(train_);
    (void)plan();
  }

  Json run(Session& s) override {
    if (method_ == "spp") train_.defaults.lr = 4e-3, train_.defaults.weight_decay = 1e-3;  // the paper's, for 7B
    if (method_ == "lora") train_.defaults.lr = 3e-4;
    if (method_ == "full") train_.defaults.lr = 2e-5;
    if (memory_.dry_run()) return plan_only(s);
    // An adapter that does not fit is refused before weights or data are read.
    if (method_ != "full") (void)adapter_parameters(*shape_model(read_config(model_)), plan());
    const auto model = load_model(model_, &s.log);
    const auto tokenizer = Tokenizer::load(model_);
    const std::int64_t T = train_.seq_len.value_or(default_seq_len(512, model->config(), 0));
    require(T <= model->config().max_positions, ErrorCode::usage, "--seq-len", T, " tokens, the model has ",
            model->config().max_positions, " positions");
    check_output_directory(out_);
    Data data = read_data(s, *tokenizer, model->config(), T);
    const TrainingShape shape =
        training_shape(s, train_, learning(), longest(data.learning), 0, std::int64_t(data.held_out.size()));
    const std::int64_t updates = std::int64_t(data.learning.size()) / (train_.batch * train_.accumulate);
    train_.defaults.steps = std::max<std::int64_t>(1, updates * epochs_);
    if (!train_.warmup) train_.warmup = train_.steps.value_or(train_.defaults.steps) * 3 / 100;
    TrainOptions o = train_.options(s, out_, data.learning, describe());
    BatchSampler sampler(std::move(data.learning), train_.batch, s.seed);
    o.checkpoint = memory_.checkpoint(*model, shape, train_, s.log);
    const auto task = make_task(*model, s.seed);
    std::function<double()> validate;
    if (!data.held_out.empty()) validate = [&] { return mean_nll(*model, data.held_out, Tensor(), s.compute); };
    const TrainResult r = run_training(*model, *task, sampler, validate, o, s.log,
                                       [&](const TrainResult& result) { save(*model, result, o); });
    return report(s, *task, r, o);
  }

 private:
  AdapterPlan plan() const {
    AdapterPlan p;
    p.kind = method_ == "spp" ? AdapterPlan::Kind::spp : AdapterPlan::Kind::lora;
    p.rank = rank_.value_or(method_ == "spp" ? 16 : 8);
    require(p.rank >= 1, ErrorCode::usage, "--rank", "expected 1 or more, found ", p.rank);
    const double r = double(p.rank);
    p.scale = alpha_ ? *alpha_ / (rslora_ ? std::sqrt(r) : r) : scale_.value_or(2);
    p.dropout = dropout_;
    p.targets = target_expression(targets_);
    p.alpha = alpha_;
    p.rslora = rslora_;
    return p;
  }

  // "q_proj,v_proj" are ends of names; anything else is a regular expression already.
  static std::string target_expression(const std::string& targets) {
    if (targets.empty() || targets.find_first_of("^$*+?()[]{}|\\") != std::string::npos) return targets;
    std::string names;
    for (const char c : targets) names += c == ',' ? "|" : c == '.' ? "\\." : std::string(1, c);
    return "(^|\\.)(" + names + ")$";
  }

  Learning learning() const {
    if (method_ == "full") return {.what = Learning::What::full};
    return {.what = Learning::What::adapters, .adapters = plan()};
  }
  static std::int64_t longest(std::span<const Example> examples) {
    std::size_t most = 0;
    for (const Example& e : examples) most = std::max(most, e.ids.size());
    return std::int64_t(most);
  }

  Json plan_only(Session& s) const {
    const auto model = shape_model(read_config(model_));
    const std::int64_t parameters = training_memory(*model, {.learning = learning()}, StoredAs{}).parameters;
    std::int64_t weights = 0;
    model->each_linear([&](Linear& l) { weights += l.out_features() * l.in_features(); });
    const AdapterPlan p = plan();
    const double bytes = 16. * double(parameters);  // value, gradient and two moments, f32
    s.out << method_;
    if (method_ != "full") s.out << ", rank " << p.rank << ", scale " << p.scale;
    s.out << ": " << parameters << " trainable parameters, " << fixed(100. * double(parameters) / double(weights), 3)
          << " % of the linears' " << weights << " weights\n"
          << "values, gradients and AdamW's state: " << human_bytes(bytes) << " in f32\n";
    Json json{{"method", method_},
              {"parameters", parameters},
              {"linear_weights", weights},
              {"rank", method_ == "full" ? Json(nullptr) : Json(p.rank)},
              {"state_bytes", bytes}};
    json.update(memory_.describe(s, model_, train_, learning(), 0, 512, train_.steps));
    return json;
  }

  std::string describe() const {
    const AdapterPlan p = plan();
    return "finetune " + method_ + " rank=" + std::to_string(p.rank) + " scale=" + std::to_string(p.scale) +
           " dropout=" + std::to_string(p.dropout) + " targets=" + p.targets +
           " keep-mask=" + std::to_string(keep_mask_) + " val-size=" + std::to_string(val_size_) + " model=" + model_;
  }

  std::unique_ptr<Task> make_task(CausalLM& model, std::uint64_t seed) const {
    if (method_ == "full") {
      thaw(model);
      return std::make_unique<FullTask>(model, keep_mask_);
    }
    attach_adapters(model, plan(), seed);
    return std::make_unique<AdapterTask>(model);
  }

  std::vector<Example> examples(Session& s, const std::string& file, const Tokenizer& tokenizer, const ModelConfig& c,
                                std::int64_t T) const {
    if (!holds_instructions(file)) {
      require(!mask_inputs_, ErrorCode::usage, "--mask-inputs", file, " is text, which has no inputs to mask");
      return examples_of(windows_of(file, train_.join, tokenizer, c.vocab, T));
    }
    Instructions read = read_instructions(file, tokenizer, c.vocab, {T, !mask_inputs_});
    const auto warn = [&](std::int64_t count, const std::string& what) {
      const std::int64_t all = std::int64_t(read.examples.size()) + read.unanswered;
      if (count > 0)
        s.log.warn(file + ": " + std::to_string(count) + " of " + std::to_string(all) + " examples " + what);
    };
    warn(read.cut, "are longer than " + std::to_string(T) + " tokens and lose their end, with the end token");
    warn(read.unanswered, "are left out: nothing of their answer is within " + std::to_string(T) + " tokens");
    warn(read.empty, "have an empty answer");
    if (!tokenizer.eos()) s.log.warn(model_ + ": the tokenizer names no end token, so no answer ends with one");
    return std::move(read.examples);
  }

  Data read_data(Session& s, const Tokenizer& tokenizer, const ModelConfig& c, std::int64_t T) const {
    Data d{examples(s, train_.data, tokenizer, c, T), {}};
    if (!train_.validation.empty()) d.held_out = examples(s, train_.validation, tokenizer, c, T);
    else if (val_size_ > 0) {
      require(val_size_ < std::int64_t(d.learning.size()), ErrorCode::usage, "--val-size", val_size_, " of ",
              d.learning.size(), " examples leave nothing to learn from");
      const Rng rng{s.seed, 0x76616c};
      for (std::size_t i = d.learning.size() - 1; i > 0; --i) std::swap(d.learning[i], d.learning[rng.below(i, i + 1)]);
      d.held_out.assign(d.learning.end() - val_size_, d.learning.end());
      d.learning.resize(d.learning.size() - std::size_t(val_size_));
    }
    return d;
  }

  void save(CausalLM& model, const TrainResult& r, const TrainOptions& o) const {
    const std::string settings = o.settings.fixed + " " + o.settings.free;
    if (method_ != "full")
      return save_adapter(out_, model, plan(), {model_, {{"steps", std::to_string(r.steps)}, {"settings", settings}}});
    AtomicDirectory dir(out_);
    save_weights(model, dir.path(), {.params = DType::f32});
    copy_model_files(model_, dir.path(), storage_changes(model, model_));
    dir.commit();
  }

  Json report(Session& s, Task& task, const TrainResult& r, const TrainOptions& o) const {
    std::int64_t parameters = 0;
    for (const Param* p : task.trainable()) parameters += p->value().numel();
    Json json{{"out", out_},
              {"method", method_},
              {"parameters", parameters},
              {"steps", r.steps},
              {"loss", r.last_loss},
              {"seconds", r.seconds},
              {"tokens_per_second", r.tokens_per_second},
              {"metrics", o.metrics.string()}};
    s.out << parameters << " parameters, " << r.steps << " steps, " << fixed(r.seconds, 1) << " s, "
          << fixed(r.tokens_per_second, 0) << " tokens/s, last loss " << fixed(r.last_loss, 4) << "\n";
    if (std::isfinite(r.best_validation)) {
      s.out << "validation loss " << fixed(r.first_validation, 4) << " -> " << fixed(r.best_validation, 4)
            << " nats per token (perplexity " << fixed(std::exp(r.best_validation), 3) << ") at step " << r.best_step
            << (r.out_of_patience ? "; stopped, as it did not improve further" : "") << "\n";
      json.update(Json{{"nll_initial", r.first_validation},
                       {"nll", r.best_validation},
                       {"ppl", std::exp(r.best_validation)},
                       {"best_step", r.best_step}});
    }
    s.out << "written to " << out_ << "\n";
    json.update(memory_.report());
    return json;
  }

  std::string model_, method_, out_, targets_;
  std::optional<std::int64_t> rank_;
  std::optional<double> scale_, alpha_;
  double dropout_ = 0.05;
  std::int64_t epochs_ = 3, val_size_ = 0;
  bool rslora_ = false, train_on_inputs_ = false, mask_inputs_ = false, keep_mask_ = false;
  TrainFlags train_;
  TrainingPlan memory_;
};

}  // namespace

std::unique_ptr<Command> make_finetune() { return std::make_unique<Finetune>(); }

}  // namespace sinter
