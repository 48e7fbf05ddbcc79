// sinter tokenize: text to ids and back.
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/parts.h"
#include "models/tokenizer.h"
#include "train/data/text.h"

namespace sinter {
namespace {

class Tokenize final : public Command {
 public:
  void declare(Flags& f) override {
    f.positional("MODEL", &model_, "Directory with the tokenizer's files")
        .alias("-m")
        .alias("--model")
        .alias("--model-name-or-path");
    f.option("--text", "S", &text_, "The text itself").alias("-p");
    f.option("--file", "F", &file_, "A text file as one text; .jsonl: its field text").alias("-f");
    f.flag("--lines", lines_, "Lines of --file are rows (row = line + newline, blank line = empty row)");
    f.option("--join", "S", &join_, "Between rows (default \\n\\n) or records (default one space)");
    f.flag("--no-special", no_special_, "Without what the tokenizer puts before and after a text");
    f.option("--decode", "1,2,3", &decode_, "Ids to text");
  }

  void check() const override {
    require(int(text_.has_value()) + int(file_.has_value()) + int(decode_.has_value()) == 1, ErrorCode::usage,
            "tokenize", "needs exactly one of --text, --file and --decode");
  }

  Json run(Session& s) override {
    const auto tokenizer = Tokenizer::load(model_);
    if (decode_) {
      const auto ids = parse_ids("--decode", *decode_);
      check_ids(ids, tokenizer->size(), ErrorCode::usage, "--decode");
      const std::string text = tokenizer->decode(ids);
      s.out << text << "\n";
      return {{"text", text}};
    }
    const std::string text = text_ ? *text_ : read_text_as_one(*file_, {lines_, join_text(join_)});
    const auto ids = tokenizer->encode(text, !no_special_);
    for (std::size_t i = 0; i < ids.size(); ++i) s.out << (i ? "," : "") << ids[i];
    s.out << "\n";
    return {{"ids", ids}, {"count", ids.size()}};
  }

 private:
  std::string model_;
  std::optional<std::string> join_, text_, file_, decode_;
  bool lines_ = false, no_special_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize() { return std::make_unique<Tokenize>(); }

}  // namespace sinter
