// sinter prompt: learns a soft prompt for a frozen model ("Compress, then prompt", arXiv 2305.11186).
#include "train/prompt.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/parts.h"
#include "apps/training_plan.h"
#include "models/checkpoint.h"

namespace sinter {
namespace {

class PromptCommand final : public Command {
 public:
  void declare(Flags& f) override {
    declare_model(f, model_, "; its weights stay as they are");
    f.option("--out", "P", &out_,
             "X.safetensors: one file; any other name: a PEFT prompt-tuning directory; {k} becomes the rows")
        .alias("-o")
        .alias("--save")
        .alias("--output-dir");
    f.option("--tokens", "K", &tokens_, "Rows of the prompt (default 100); 25,50,100: one prompt of each length")
        .alias("--soft-token-num")
        .alias("--num-virtual-tokens");
    f.option("--init", "random|first|text:S", &init_,
             "Rows of the embedding: of random tokens, the first, or those of a text (default random)");
    train_.declare(f);
    memory_.declare(f);
  }

  void check() const override {
    if (!memory_.dry_run()) train_.check();
    require(memory_.dry_run() || !out_.empty(), ErrorCode::usage, "prompt", "--out is missing");
    memory_.check(train_);
    require(init_ == "random" || init_ == "first" || init_.starts_with("text:"), ErrorCode::usage, "--init",
            "expected random, first or text:S, found \"", init_, "\"");
    (void)parse_lengths();
  }

  Json run(Session& s) override {
    const std::vector<std::int32_t> lengths = parse_lengths();
    const std::int64_t longest = *std::ranges::max_element(lengths);
    if (memory_.dry_run())
      return memory_.describe(s, model_, train_, {}, longest, 1024, train_.steps.value_or(train_.defaults.steps));
    const auto model = load_model(model_, &s.log);
    const auto tokenizer = Tokenizer::load(model_);
    const ModelConfig& c = model->config();
    const std::int64_t T = train_.seq_len.value_or(default_seq_len(1024, c, longest));
    require(T + longest <= c.max_positions, ErrorCode::usage, "prompt", "sequences of ", T, " and ", longest,
            " prompt rows exceed the model's ", c.max_positions, " positions");
    const auto examples = examples_of(windows_of(train_.data, train_.join, *tokenizer, c.vocab, T));
    const Windows held_out =
        train_.validation.empty() ? Windows() : windows_of(train_.validation, train_.join, *tokenizer, c.vocab, T);
    BatchSampler sampler(examples, train_.batch, s.seed);
    train_.grad_checkpoint = memory_.checkpoint(
        *model, training_shape(s, train_, {}, T, longest, std::int64_t(held_out.size())), train_, s.log);
    std::vector<Run> runs;
    for (const std::int64_t k : lengths) runs.push_back(prepare(s, k, examples));
    const double without = held_out.empty() ? NAN : prompt_validation(*model, held_out, Tensor(), s.compute);
    for (Run& run : runs)
      if (!run.done) learn(s, *model, *tokenizer, sampler, held_out, run);
    Json json = runs.size() == 1 ? report(s, runs[0], without, T) : report(s, runs, without, T);
    json.update(memory_.report());
    return json;
  }

 private:
  struct Run {
    std::int64_t k;
    std::string out;
    TrainOptions options;
    TrainResult result{};
    bool done = false;  // by an earlier call, with the same settings
  };

  // "25,50,100"
  std::vector<std::int32_t> parse_lengths() const {
    std::vector<std::int32_t> lengths = parse_ids("--tokens", tokens_);
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      require(lengths[i] >= 1, ErrorCode::usage, "--tokens", "expected 1 or more, found ", lengths[i]);
      require(std::ranges::count(lengths, lengths[i]) == 1, ErrorCode::usage, "--tokens", lengths[i], " occurs twice");
    }
    require(lengths.size() == 1 || out_.empty() || out_.find("{k}") != std::string::npos, ErrorCode::usage, "--out",
            "several lengths need several results: put {k} into the name, as in prompt-{k}.safetensors");
    return lengths;
  }

  Run prepare(const Session& s, std::int64_t k, std::span<const Example> examples) const {
    Run run{k, out_, {}};
    for (std::size_t at; (at = run.out.find("{k}")) != std::string::npos;) run.out.replace(at, 3, std::to_string(k));
    run.options = train_.options(s, run.out, examples,
                                 "prompt tokens=" + std::to_string(k) + " init=" + init_ + " model=" + model_);
    if (train_.resume && std::filesystem::exists(run.out)) run.done = take_over(prompt_facts(run.out), run);
    if (!run.done)
      std::filesystem::path(run.out).extension() == ".safetensors" ? check_output_file(run.out)
                                                                   : check_output_directory(run.out);
    return run;
  }

  static std::string settings(const TrainOptions& o) { return o.settings.fixed + " " + o.settings.free; }

  void learn(const Session& s, const CausalLM& model, const Tokenizer& tokenizer, BatchSampler& sampler,
             const Windows& held_out, Run& run) const {
    PromptTask task(initial(model, tokenizer, run.k, s.seed));
    std::function<double()> validate;
    if (!held_out.empty()) validate = [&] { return prompt_validation(model, held_out, task.prompt(), s.compute); };
    run.result = run_training(model, task, sampler, validate, run.options, s.log, [&](const TrainResult& r) {
      save_prompt(run.out, task.prompt(), model, tokenizer, {model_, facts_of(r, run.options)});
    });
  }

  Tensor initial(const CausalLM& model, const Tokenizer& tokenizer, std::int64_t k, std::uint64_t seed) const {
    if (init_ == "random") return random_prompt(model, k, Rng{seed}.fork(0x70726f6d7074));
    if (init_ == "first") return first_prompt(model, k);
    return text_prompt(model, tokenizer, k, init_.substr(5));
  }

  // What a result says of its training, and back.
  std::map<std::string, std::string> facts_of(const TrainResult& r, const TrainOptions& o) const {
    std::map<std::string, std::string> facts{{"settings", settings(o)},
                                             {"steps", std::to_string(r.steps)},
                                             {"loss", fixed(r.last_loss, 6)}};  // no times: same seed, same bytes
    if (!train_.validation.empty()) {
      facts["validation_nll"] = fixed(r.best_validation, 6);
      facts["initial_nll"] = fixed(r.first_validation, 6);
      facts["best_step"] = std::to_string(r.best_step);
    }
    return facts;
  }
  static bool take_over(const std::map<std::string, std::string>& facts, Run& run) {
    const auto number = [&](const char* key) {
      const auto it = facts.find(key);
      return it == facts.end() ? 0 : std::strtod(it->second.c_str(), nullptr);
    };
    const auto same = facts.find("settings");
    if (same == facts.end() || same->second != settings(run.options)) return false;
    run.result.steps = std::int64_t(number("steps"));
    run.result.last_loss = number("loss");
    run.result.best_validation = number("validation_nll");
    run.result.first_validation = number("initial_nll");
    run.result.best_step = std::int64_t(number("best_step"));
    return true;
  }

  // The published code divides by all T - 1 + k positions; see PerplexityOptions.
  static double ppl_paper(const Run& run, std::int64_t T) {
    return std::exp(run.result.best_validation * double(T - 1) / double(T - 1 + run.k));
  }

  Json facts(const Run& run, double without, std::int64_t T) const {
    const TrainResult& r = run.result;
    Json json{{"out", run.out},
              {"tokens", run.k},
              {"steps", r.steps},
              {"seq_len", T},
              {"loss", r.last_loss},
              {"seconds", r.seconds},
              {"tokens_per_second", r.tokens_per_second}};
    if (!train_.validation.empty())
      json.update(Json{{"ppl_without_prompt", std::exp(without)},
                       {"ppl_initial", std::exp(r.first_validation)},
                       {"ppl", std::exp(r.best_validation)},
                       {"ppl_paper", ppl_paper(run, T)},
                       {"nll", r.best_validation},
                       {"best_step", r.best_step}});
    return json;
  }

  Json report(Session& s, const Run& run, double without, std::int64_t T) const {
    const TrainResult& r = run.result;
    s.out << run.k << " prompt rows learned in " << r.steps << " steps, " << fixed(r.seconds, 1) << " s, last loss "
          << fixed(r.last_loss, 4) << (run.done ? ", by an earlier run" : "") << "\n";
    if (!train_.validation.empty())
      s.out << "validation perplexity: " << fixed(std::exp(without), 3) << " without a prompt, "
            << fixed(std::exp(r.first_validation), 3) << " with the initial one, "
            << fixed(std::exp(r.best_validation), 3) << " with the learned one of step " << r.best_step << " ("
            << fixed(ppl_paper(run, T), 3) << " with the published code's divisor)\n";
    s.out << "written to " << run.out << "\n";
    return facts(run, without, T);
  }

  // A row per length.
  Json report(Session& s, const std::vector<Run>& runs, double without, std::int64_t T) const {
    Json json{{"seq_len", T}, {"runs", Json::array()}};
    if (!train_.validation.empty())
      s.out << "validation perplexity without a prompt: " << fixed(std::exp(without), 3) << ", sequences of " << T
            << "\n  rows    initial    learned  published divisor  best step    seconds  written to\n";
    else s.out << "  rows  last loss    seconds  written to\n";
    for (const Run& run : runs) {
      const TrainResult& r = run.result;
      char line[160];
      if (train_.validation.empty())
        std::snprintf(line, sizeof line, "%6d %10.4f %10.1f  ", int(run.k), r.last_loss, r.seconds);
      else
        std::snprintf(line, sizeof line, "%6d %10.3f %10.3f %18.3f %10d %10.1f  ", int(run.k),
                      std::exp(r.first_validation), std::exp(r.best_validation), ppl_paper(run, T), int(r.best_step),
                      r.seconds);
      s.out << line << run.out << "\n";
      json["runs"].push_back(facts(run, without, T));
    }
    return json;
  }

  std::string model_, out_, init_ = "random", tokens_ = "100";
  TrainFlags train_;
  TrainingPlan memory_;
};

}  // namespace

std::unique_ptr<Command> make_prompt() { return std::make_unique<PromptCommand>(); }

}  // namespace sinter
