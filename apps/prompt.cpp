// sinter prompt: learns a soft prompt for a frozen model ("Compress, then prompt", arXiv 2305.11186).
#include "train/prompt.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/parts.h"
#include "apps/train_flags.h"
#include "models/checkpoint.h"

namespace sinter {
namespace {

class PromptCommand final : public Command {
 public:
  void declare(Flags& f) override {
    f.positional("MODEL", &model_, "Model directory; its weights stay as they are")
        .alias("-m")
        .alias("--model")
        .alias("--model-name-or-path");
    f.option("--out", "P", &out_, "X.safetensors: one file; any other name: a PEFT prompt-tuning directory")
        .alias("-o")
        .alias("--save")
        .alias("--output-dir")
        .required();
    f.option("--tokens", "K", &tokens_, "Rows of the prompt (default 100)")
        .alias("--soft-token-num")
        .alias("--num-virtual-tokens");
    f.option("--init", "random|first|text:S", &init_,
             "Rows of the embedding: of random tokens, the first, or those of a text (default random)");
    train_.declare(f);
  }

  Json run(Session& s) override {
    train_.check();
    require(tokens_ >= 1, ErrorCode::usage, "--tokens", "expected 1 or more, found ", tokens_);
    require(init_ == "random" || init_ == "first" || init_.starts_with("text:"), ErrorCode::usage, "--init",
            "expected random, first or text:S, found \"", init_, "\"");
    const auto model = load_model(model_, &s.log);
    const auto tokenizer = Tokenizer::load(model_);
    const ModelConfig& c = model->config();
    const std::int64_t T = train_.seq_len.value_or(default_seq_len(1024, c, tokens_));
    require(T + tokens_ <= c.max_positions, ErrorCode::usage, "prompt", "sequences of ", T, " and ", tokens_,
            " prompt rows exceed the model's ", c.max_positions, " positions");
    std::filesystem::path(out_).extension() == ".safetensors" ? check_output_file(out_) : check_output_directory(out_);

    auto examples = examples_of(windows_of(train_.data, train_.join, *tokenizer, c.vocab, T));
    const Windows held_out =
        train_.validation.empty() ? Windows() : windows_of(train_.validation, train_.join, *tokenizer, c.vocab, T);
    PromptTask task(initial(*model, *tokenizer, s.seed));
    const TrainOptions o = train_.options(
        s, out_, examples, "prompt tokens=" + std::to_string(tokens_) + " init=" + init_ + " model=" + model_);
    std::function<double()> validate;
    if (!held_out.empty()) validate = [&] { return prompt_validation(*model, held_out, task.prompt(), s.compute); };
    const double without = held_out.empty() ? NAN : prompt_validation(*model, held_out, Tensor(), s.compute);
    BatchSampler sampler(std::move(examples), train_.batch, s.seed);
    const TrainResult r = run_training(*model, task, sampler, validate, o, s.log);
    save(*model, *tokenizer, task.prompt(), r, o);
    return report(s, r, without, T);
  }

 private:
  Tensor initial(const CausalLM& model, const Tokenizer& tokenizer, std::uint64_t seed) const {
    if (init_ == "random") return random_prompt(model, tokens_, Rng{seed}.fork(0x70726f6d7074));
    if (init_ == "first") return first_prompt(model, tokens_);
    return text_prompt(model, tokenizer, tokens_, init_.substr(5));
  }

  void save(const CausalLM& model, const Tokenizer& tokenizer, const Tensor& prompt, const TrainResult& r,
            const TrainOptions& o) const {
    PromptFacts facts{model_, {{"steps", std::to_string(r.steps)}, {"settings", o.fingerprint}}};
    if (!train_.validation.empty()) facts.extra["validation_nll"] = fixed(r.best_validation, 6);
    save_prompt(out_, prompt, model, tokenizer, facts);
  }

  // The published code divides by all T - 1 + k positions; see PerplexityOptions.
  Json report(Session& s, const TrainResult& r, double without, std::int64_t T) const {
    Json json{{"out", out_},
              {"tokens", tokens_},
              {"steps", r.steps},
              {"seq_len", T},
              {"loss", r.last_loss},
              {"seconds", r.seconds},
              {"tokens_per_second", r.tokens_per_second}};
    s.out << tokens_ << " prompt rows learned in " << r.steps << " steps, " << fixed(r.seconds, 1) << " s, last loss "
          << fixed(r.last_loss, 4) << "\n";
    if (!train_.validation.empty()) {
      const double ppl = std::exp(r.best_validation),
                   paper = std::exp(r.best_validation * double(T - 1) / double(T - 1 + tokens_));
      s.out << "validation perplexity: " << fixed(std::exp(without), 3) << " without a prompt, "
            << fixed(std::exp(r.first_validation), 3) << " with the initial one, " << fixed(ppl, 3)
            << " with the learned one of step " << r.best_step << " (" << fixed(paper, 3)
            << " with the published code's divisor)\n";
      json.update(Json{{"ppl_without_prompt", std::exp(without)},
                       {"ppl_initial", std::exp(r.first_validation)},
                       {"ppl", ppl},
                       {"ppl_paper", paper},
                       {"nll", r.best_validation},
                       {"best_step", r.best_step}});
    }
    s.out << "written to " << out_ << "\n";
    return json;
  }

  std::string model_, out_, init_ = "random";
  std::int64_t tokens_ = 100;
  TrainFlags train_;
};

}  // namespace

std::unique_ptr<Command> make_prompt() { return std::make_unique<PromptCommand>(); }

}  // namespace sinter
