// sinter demo: the whole journey on the models that are part of the program.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/demo_data.h"
#include "apps/demo_journey.h"
#include "apps/parts.h"
#include "core/file.h"
#include "models/generate.h"
#include "train/data/worlds.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

// Passes on that the user wants to stop; the demo shows progress by its own measure.
class Within final : public LogSink {
 public:
  explicit Within(const LogSink& outer) : outer_(outer) {}
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  void progress(const Progress&) override {}
  bool stop_requested() const override { return outer_.stop_requested(); }

 private:
  const LogSink& outer_;
};

std::string trimmed(std::string_view s) {
  const auto begin = s.find_first_not_of(' '), end = s.find_last_not_of(" \n");
  return begin == std::string_view::npos ? "" : std::string(s.substr(begin, end - begin + 1));
}

class Demo final : public Command {
 public:
  void declare(Flags& f) override {
    f.option("--out", "DIR", &out_, "Where the models are unpacked and the prompts written (default sinter-demo)");
    f.option("--steps", "N", &steps_, "Updates of each prompt, and of SPP (default 120)");
    f.option("--tokens", "K", &tokens_, "Length of each prompt (default 32)");
    f.option("--lr", "X", &lr_, "Peak learning rate of the prompts (default 0.03)");
  }

  void check() const override {
    require(steps_ >= 1 && tokens_ >= 1 && lr_ > 0, ErrorCode::usage, "demo",
            "--steps, --tokens and --lr must be positive");
  }

  Json run(Session& s) override {
    total_ = std::int64_t(demo_llama_settings().size() + demo_opt_settings().size() + 2 * demo_spp_settings().size());
    Json json{{"rows", Json::array()}};
    s.out << "LLaMA, trained on small invented worlds (sinter worlds); perplexity on worlds it has not seen\n";
    Journey llama = prepare("llama", s);
    const auto rows = table(s, llama, demo_llama_settings(), json["rows"]);
    json["transfer"] = transfer(s, llama, rows);
    json["spp_rows"] = spp(s, llama);
    json["questions"] = questions(s, rows);
    s.out << "\nOPT, the same text\n";
    Journey opt = prepare("opt", s);
    json["opt_rows"] = Json::array();
    table(s, opt, demo_opt_settings(), json["opt_rows"]);
    json["opt_spp_rows"] = spp(s, opt);
    return json;
  }

 private:
  Journey prepare(const std::string& name, const Session& s) {
    const fs::path model = unpack_demo_model(name, out_);
    tokenizer_ = Tokenizer::load(model);
    Journey j = demo_journey(model, *tokenizer_, tokens_);
    j.steps = steps_;
    j.lr = lr_;
    j.seed = s.seed;
    return j;
  }

  std::vector<JourneyRow> table(Session& s, const Journey& j, const std::vector<Setting>& settings, Json& json) {
    char line[160];
    std::snprintf(line, sizeof line, "%-24s %6s %11s %12s %11s %11s %8s", "setting", "bits", "perplexity",
                  "with prompt", "loss added", "taken back", "seconds");
    s.out << line << "\n";
    std::vector<JourneyRow> rows;
    Within inner(s.log);
    for (const Setting& setting : settings) {
      s.log.check_stop("demo");
      rows.push_back(travel(j, setting, inner));
      const JourneyRow& r = rows.back();
      save_prompt(
          j.model.parent_path() / (j.model.filename().string() + "-" + std::to_string(rows.size()) + ".safetensors"),
          r.prompt, *r.model, *tokenizer_, {.base_model = setting.name, .extra = {}});
      std::snprintf(line, sizeof line, "%-24s %6.2f %11.3f %12.3f %11.3f %11.3f %8.1f", setting.name.c_str(),
                    r.bits_per_weight, r.ppl, r.ppl_prompt, r.nll - rows[0].nll, r.nll - r.nll_prompt, r.seconds);
      s.out << line << std::endl;
      json.push_back({{"setting", setting.name},
                      {"ppl", r.ppl},
                      {"ppl_prompt", r.ppl_prompt},
                      {"ppl_prompt_paper", r.ppl_prompt_paper},
                      {"bits_per_weight", r.bits_per_weight},
                      {"seconds", r.seconds}});
      if (rows.size() > 1) json.back()["gap_closed"] = gap_closed(r, rows[0].nll);
      s.log.progress({"demo", ++done_, total_, r.ppl_prompt, "ppl"});
    }
    return rows;
  }

  // The factors of SPP in the prompt's place.
  Json spp(Session& s, const Journey& j) {
    char line[160];
    double dense_nll = NAN;
    std::snprintf(line, sizeof line, "\n%-24s %6s %11s %12s %11s %11s %11s %8s", "tuned with SPP", "bits", "perplexity",
                  "with SPP", "merged", "loss added", "taken back", "seconds");
    s.out << line << "\n";
    Json json = Json::array();
    Within inner(s.log);
    for (const Setting& setting : demo_spp_settings()) {
      s.log.check_stop("demo");
      const TunedRow r = tune(j, setting, inner);
      if (json.empty()) dense_nll = r.nll;
      std::snprintf(line, sizeof line, "%-24s %6.2f %11.3f %12.3f %11.3f %11.3f %11.3f %8.1f", setting.name.c_str(),
                    r.bits_per_weight, r.ppl, r.ppl_spp, r.ppl_merged, r.nll - dense_nll, r.nll - r.nll_spp, r.seconds);
      s.out << line << std::endl;
      json.push_back({{"setting", setting.name},
                      {"ppl", r.ppl},
                      {"ppl_spp", r.ppl_spp},
                      {"ppl_merged", r.ppl_merged},
                      {"zeros", r.zeros},
                      {"zeros_merged", r.zeros_merged},
                      {"bits_per_weight", r.bits_per_weight},
                      {"seconds", r.seconds}});
      if (json.size() > 1) json.back()["gap_closed"] = (r.nll - r.nll_spp) / (r.nll - dense_nll);
      s.log.progress({"demo", ++done_, total_, r.ppl_spp, "ppl"});
    }
    return json;
  }

  // Prompts learned at one setting in front of models compressed at another.
  Json transfer(Session& s, const Journey& j, const std::vector<JourneyRow>& rows) {
    constexpr std::size_t kFrom[] = {3, 6, 8}, kTo[] = {1, 2, 4, 5};
    s.out << "\nperplexity with the prompt of another setting\n";
    char cell[64];
    std::snprintf(cell, sizeof cell, "%-24s", "prompt of \\ model");
    s.out << cell;
    for (const auto t : kTo) {
      std::snprintf(cell, sizeof cell, " %18s", rows[t].setting.name.c_str());
      s.out << cell;
    }
    Json json = Json::array();
    Within inner(s.log);
    for (const auto f : kFrom) {
      std::snprintf(cell, sizeof cell, "\n%-24s", rows[f].setting.name.c_str());
      s.out << cell;
      for (const auto t : kTo) {
        const double ppl = measure(j, *rows[t].model, rows[f].prompt, inner).ppl;
        std::snprintf(cell, sizeof cell, " %18.3f", ppl);
        s.out << cell << std::flush;
        json.push_back({{"prompt", rows[f].setting.name},
                        {"model", rows[t].setting.name},
                        {"ppl", rows[t].ppl},
                        {"ppl_prompt", ppl}});
      }
    }
    s.out << "\n";
    return json;
  }

  // Questions about worlds it has not seen, asked before and after the prompt.
  Json questions(Session& s, const std::vector<JourneyRow>& rows) {
    constexpr std::size_t kAsked = 40, kShown = 4, kSetting = 2;
    const JourneyRow& r = rows[kSetting];
    std::size_t right[3] = {};
    Json json = Json::array();
    const auto asked = make_questions(kDemoTextSeed, kHeldOutWorlds + 100, kAsked);
    s.out << "\nquestions about unseen worlds, to the model at " << r.setting.name << "\n";
    for (std::size_t i = 0; i < asked.size(); ++i) {
      s.log.check_stop("demo");
      const WorldQuestion& q = asked[i];
      const std::string answers[3] = {answer(*rows[0].model, q, {}), answer(*r.model, q, {}),
                                      answer(*r.model, q, r.prompt)};
      for (int k = 0; k < 3; ++k) right[k] += answers[k] == trimmed(q.answer);
      if (i >= kShown) continue;
      const auto text = q.question.substr(0, q.question.find('\n'));
      s.out << "  " << text << " " << q.answer << "\n    dense: " << answers[0] << "  compressed: " << answers[1]
            << "  with prompt: " << answers[2] << "\n";
      json.push_back({{"question", q.question},
                      {"expected", q.answer},
                      {"dense", answers[0]},
                      {"compressed", answers[1]},
                      {"with_prompt", answers[2]}});
    }
    s.out << "  right answers of " << kAsked << ": dense " << right[0] << ", compressed " << right[1]
          << ", with prompt " << right[2] << "\n";
    return {{"setting", r.setting.name},     {"asked", kAsked},
            {"right_dense", right[0]},       {"right_compressed", right[1]},
            {"right_with_prompt", right[2]}, {"examples", json}};
  }

  std::string answer(const CausalLM& model, const WorldQuestion& q, const Tensor& prompt) const {
    const auto ids = tokenizer_->encode(q.context + q.question);
    return trimmed(generate(model, *tokenizer_, ids, prompt, {.max_new_tokens = 24, .stop = {"\n"}}).text);
  }

  std::string out_ = "sinter-demo";
  std::int64_t steps_ = 120, tokens_ = 32, done_ = 0, total_ = 0;
  double lr_ = 0.03;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace

std::unique_ptr<Command> make_demo() { return std::make_unique<Demo>(); }

}  // namespace sinter
