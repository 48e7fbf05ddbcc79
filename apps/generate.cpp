// sinter generate: streams the continuation of a text.
#include "models/generate.h"

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/healed_model.h"
#include "apps/interrupt.h"
#include "apps/parts.h"
#include "core/file.h"
#include "models/tokenizer.h"

namespace sinter {
namespace {

class Generate final : public Command {
 public:
  void declare(Flags& f) override {
    healed_.declare(f);
    f.option("--prompt", "S", &prompt_, "The text to continue; only its continuation is printed").alias("-p");
    f.option("--file", "F", &file_, "The same from a file").alias("-f");
    f.option("--max-new-tokens", "N", &o_.max_new_tokens, "At most so many (default 128)")
        .alias("-n")
        .alias("--n-predict")
        .alias("--max-tokens");
    f.option("--temperature", "X", &o_.sample.temperature, "0: always the most likely token (default)").alias("--temp");
    f.option("--top-k", "K", &o_.sample.top_k, "Draw among the K most likely tokens; 0: all (default)");
    f.option("--top-p", "P", &o_.sample.top_p, "Draw among the likeliest tokens that hold this share (default 1)");
    f.option("--stop", "S", &stop_, "End before this text; may be repeated; knows \\n and \\t")
        .alias("--stop-sequence");
    f.flag("--no-special", no_special_, "Put nothing before the text: it holds its own <s>, or wants none");
  }

  void check() const override {
    require(prompt_.has_value() != file_.has_value(), ErrorCode::usage, "generate",
            "needs exactly one of --prompt and --file");
    require(o_.max_new_tokens >= 1, ErrorCode::usage, "--max-new-tokens", "expected 1 or more, found ",
            o_.max_new_tokens);
    require(o_.sample.temperature >= 0, ErrorCode::usage, "--temperature", "expected 0 or more, found ",
            o_.sample.temperature);
    require(o_.sample.top_k >= 0, ErrorCode::usage, "--top-k", "expected 0 or more, found ", o_.sample.top_k);
    require(o_.sample.top_p > 0 && o_.sample.top_p <= 1, ErrorCode::usage, "--top-p",
            "expected a share above 0 and at most 1, found ", o_.sample.top_p);
  }

  Json run(Session& s) override {
    for (const auto& text : stop_) o_.stop.push_back(unescape("--stop", text));
    o_.seed = s.seed;
    o_.compute = s.compute;
    const auto [model, soft] = healed_.load(s.log);
    const auto tokenizer = Tokenizer::load(healed_.model);
    const auto ids = tokenizer->encode(prompt_ ? *prompt_ : read_text(*file_), !no_special_);
    check_ids(ids, model->config().vocab, ErrorCode::input, healed_.model + ": tokenizer");
    const Generated g = generate(*model, *tokenizer, ids, soft, o_, [&s](std::string_view piece) {
      s.out << piece << std::flush;
      require(bool(s.out), ErrorCode::io, "standard output",
              "cannot be written: the disk is full or the reader is gone");
      s.log.check_stop("generate");
    });
    if (!g.text.ends_with('\n')) s.out << "\n";
    return report(s, g, std::int64_t(ids.size()));
  }

 private:
  static Json report(Session& s, const Generated& g, std::int64_t prompt_tokens) {
    const double prefill = double(g.prefill_tokens) / std::max(g.prefill_seconds, 1e-9);
    const double decode = g.ids.size() > 1 ? double(g.ids.size() - 1) / std::max(g.decode_seconds, 1e-9)
                                           : 0;  // the first came with the prefill
    s.log.note("prefill " + fixed(prefill, 1) + " tokens/s, decode " + fixed(decode, 1) + " tokens/s, peak " +
               human_bytes(double(peak_rss_bytes())));
    return {{"text", g.text},
            {"ids", g.ids},
            {"prompt_tokens", prompt_tokens},
            {"prefill_tokens_per_second", prefill},
            {"decode_tokens_per_second", decode},
            {"peak_rss_bytes", peak_rss_bytes()}};
  }

  HealedModel healed_;
  std::optional<std::string> prompt_, file_;
  std::vector<std::string> stop_;
  bool no_special_ = false;
  GenerateOptions o_;
};

}  // namespace

std::unique_ptr<Command> make_generate() { return std::make_unique<Generate>(); }

}  // namespace sinter
