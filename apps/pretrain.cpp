// sinter pretrain: a small model from scratch, all weights trainable in f32.
#include "train/full.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/fresh_model.h"
#include "apps/parts.h"
#include "apps/train_flags.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "train/data/make_tokenizer.h"
#include "train/prompt.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

class Pretrain final : public Command {
 public:
  void declare(Flags& f) override {
    train_.batch = 16;
    train_.defaults.weight_decay = 0.1;
    train_.defaults.schedule = "cosine";
    f.option("--config", "F", &config_, "config.json of a LLaMA or OPT; vocab_size follows the tokenizer").required();
    f.option("--tokenizer", "DIR", &tokenizer_, "Directory whose tokenizer to use");
    f.option("--make-tokenizer", "N", &pieces_, "Learn a byte-fallback BPE tokenizer of N pieces from the data");
    f.option("--out", "DIR", &out_, "The model, complete").alias("-o").alias("--output-dir").required();
    train_.declare(f);
    f.option("--floor", "X", &floor_, "Share of the peak where it ends (default 0.1)");
    f.option("--beta2", "X", &beta2_, "AdamW's (default 0.95)");
    f.option("--save-dtype", "f32|bf16", &dtype_, "Type of the saved weights (default f32)").one_of({"f32", "bf16"});
  }

  void check() const override {
    train_.check();
    require(tokenizer_.has_value() != pieces_.has_value(), ErrorCode::usage, "pretrain",
            "needs exactly one of --tokenizer and --make-tokenizer");
    require(floor_ >= 0 && floor_ <= 1, ErrorCode::usage, "--floor", "expected 0 to 1, found ", floor_);
    require(beta2_ >= 0 && beta2_ < 1, ErrorCode::usage, "--beta2", "expected 0 or more and less than 1, found ",
            beta2_);
  }

  Json run(Session& s) override {
    Json config = read_json(config_);
    const bool llama = parse_config(config, config_).family == Family::llama;
    AtomicDirectory dir(out_);
    const auto tokenizer = put_tokenizer(dir.path(), llama, config);
    complete_config(config, llama, dtype_ == "bf16");
    const ModelConfig c = parse_config(config, config_);
    require(tokenizer->size() <= c.vocab, ErrorCode::usage, config_, "field vocab_size: ", c.vocab,
            " is less than the tokenizer's ", tokenizer->size());
    const std::int64_t T = train_.seq_len.value_or(default_seq_len(1024, c, 0));
    require(T <= c.max_positions, ErrorCode::usage, "pretrain", "sequences of ", T, " exceed the model's ",
            c.max_positions, " positions");
    auto examples = examples_of(windows_of(train_.data, train_.join, *tokenizer, c.vocab, T));
    const Windows held_out =
        train_.validation.empty() ? Windows() : windows_of(train_.validation, train_.join, *tokenizer, c.vocab, T);

    const auto model = random_model(c, s.seed);
    std::int64_t parameters = 0;
    model->each_param([&](Param& p) { parameters += p.value().numel(); });
    s.log.note(std::to_string(parameters) + " parameters, " + std::to_string(examples.size()) + " sequences of " +
               std::to_string(T) + " tokens");
    FullTask task(*model, false);
    TrainOptions o = train_.options(
        s, out_, examples,
        "pretrain floor=" + std::to_string(floor_) + " beta2=" + std::to_string(beta2_) + " config=" + config.dump());
    o.schedule.floor = floor_;
    o.adam.beta2 = beta2_;
    std::function<double()> validate;
    if (!held_out.empty()) validate = [&] { return prompt_validation(*model, held_out, Tensor(), s.compute); };
    BatchSampler sampler(std::move(examples), train_.batch, s.seed);
    const auto save = [&](const TrainResult&) {
      save_weights(*model, dir.path(), {.params = dtype_ == "bf16" ? DType::bf16 : DType::f32});
      write_text_atomic(dir.path() / "config.json", json_text(config));
      dir.commit();
    };
    const TrainResult r = run_training(*model, task, sampler, validate, o, s.log, save);
    return report(s, r, parameters);
  }

 private:
  // The tokenizer's files in `dir`; their special ids and the vocabulary in the config.
  std::shared_ptr<const Tokenizer> put_tokenizer(const fs::path& dir, bool llama, Json& config) const {
    if (!pieces_) {
      copy_tokenizer(*tokenizer_, dir);
    } else {
      require(*pieces_ > 0 && *pieces_ <= 1 << 20, ErrorCode::usage, "--make-tokenizer", "expected 1 to ", 1 << 20,
              ", found ", *pieces_);
      make_tokenizer(read_text_as_one(train_.data, {false, join_text(train_.join)}), int(*pieces_), dir,
                     llama ? TokenizerStyle::llama : TokenizerStyle::opt);
    }
    auto tokenizer = Tokenizer::load(pieces_ ? dir : fs::path(*tokenizer_));
    if (pieces_ || !config.contains("vocab_size")) config["vocab_size"] = tokenizer->size();
    const auto id = [&config](const char* key, std::optional<int> value) {
      config[key] = value ? Json(*value) : Json(nullptr);
    };
    id("bos_token_id", tokenizer->bos());
    id("eos_token_id", tokenizer->eos());
    id("pad_token_id", tokenizer->pad());
    return tokenizer;
  }

  Json report(Session& s, const TrainResult& r, std::int64_t parameters) const {
    Json json{{"out", out_},         {"parameters", parameters}, {"steps", r.steps},
              {"loss", r.last_loss}, {"seconds", r.seconds},     {"tokens_per_second", r.tokens_per_second}};
    s.out << parameters << " parameters, " << r.steps << " steps, " << fixed(r.seconds, 1) << " s, "
          << fixed(r.tokens_per_second, 0) << " tokens/s, last loss " << fixed(r.last_loss, 4) << "\n";
    if (!train_.validation.empty()) {
      s.out << "validation loss " << fixed(r.best_validation, 4) << " nats per token (perplexity "
            << fixed(std::exp(r.best_validation), 3) << ") at step " << r.best_step << "\n";
      json.update(Json{{"nll", r.best_validation}, {"ppl", std::exp(r.best_validation)}, {"best_step", r.best_step}});
    }
    s.out << "written to " << out_ << "\n";
    return json;
  }

  std::string config_, out_, dtype_ = "f32";
  std::optional<std::string> tokenizer_;
  std::optional<std::int64_t> pieces_;
  double floor_ = 0.1, beta2_ = 0.95;
  TrainFlags train_;
};

}  // namespace

std::unique_ptr<Command> make_pretrain() { return std::make_unique<Pretrain>(); }

}  // namespace sinter
