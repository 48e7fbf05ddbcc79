// sinter prompt transfer: prompts before models that they were not learned for.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/parts.h"
#include "core/file.h"
#include "train/transfer.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

// "a=DIR,b=DIR2" and repetitions of it; without "a=" the last part of the path is the name.
std::vector<NamedPath> named_paths(const std::string& flag, const std::vector<std::string>& values) {
  std::vector<NamedPath> list;
  for (const std::string& value : values)
    for (std::size_t begin = 0; begin <= value.size();) {
      const std::size_t end = std::min(value.find(',', begin), value.size());
      const std::string item = value.substr(begin, end - begin);
      begin = end + 1;
      const auto equals = item.find('=');
      const fs::path path = equals == std::string::npos ? item : item.substr(equals + 1);
      require(!path.empty(), ErrorCode::usage, flag, "expected NAME=PATH, found \"", item, "\"");
      const fs::path last = path.has_filename() ? path.filename() : path.parent_path().filename();
      list.push_back({equals == std::string::npos ? last.string() : item.substr(0, equals), path});
    }
  return list;
}

// In characters, not bytes.
std::size_t width(std::string_view text) {
  return std::size_t(std::ranges::count_if(text, [](char c) { return (std::uint8_t(c) & 0xc0) != 0x80; }));
}
std::string left(const std::string& text, std::size_t to) {
  return text + std::string(to - std::min(to, width(text)), ' ');
}
std::string right(const std::string& text, std::size_t to) {
  return std::string(to - std::min(to, width(text)), ' ') + text;
}

// Three to six digits, whatever the size.
std::string figure(double ppl) { return fixed(ppl, ppl < 1000 ? 3 : ppl < 100000 ? 1 : 0); }

// A model's column: every row's perplexity, and in brackets by the published code's divisor.
struct Column {
  std::string head;
  std::vector<std::string> ppl, paper;  // by prompt; "" where there is none
  std::size_t ppl_width = 0, paper_width = 0;

  Column(const TransferMatrix& m, std::size_t model, std::size_t text) : head(m.models[model].name) {
    for (std::size_t p = 0; p < m.prompts.size(); ++p) {
      const Perplexity& found = *m.at(model, p, text).found;
      ppl.push_back(figure(found.ppl));
      paper.push_back(m.prompts[p].tokens() == 0 ? "" : " (" + figure(found.ppl_paper) + ")");
      ppl_width = std::max(ppl_width, ppl[p].size());
      paper_width = std::max(paper_width, paper[p].size());
    }
    ppl_width = std::max(ppl_width, width(head) - std::min(width(head), paper_width));
  }
  std::string title() const { return "  " + right(head, ppl_width + paper_width); }
  std::string row(std::size_t p) const { return "  " + right(ppl[p], ppl_width) + right(paper[p], paper_width); }
};

void print_text(std::ostream& out, const TransferMatrix& m, std::size_t text) {
  const std::string corner = "prompt of \\ model";
  const Perplexity& any = *m.at(0, 0, text).found;
  out << "\n"
      << m.texts[text].name << ": perplexity of " << any.scored_tokens << " tokens in " << any.chunks << " chunks of "
      << any.seq_len << " (in brackets with the published code's divisor)\n";
  std::size_t first = corner.size();
  for (const auto& p : m.prompts) first = std::max(first, width(p.name));
  std::vector<Column> columns;
  for (std::size_t i = 0; i < m.models.size(); ++i) columns.emplace_back(m, i, text);
  out << left(corner, first);
  for (const Column& c : columns) out << c.title();
  for (std::size_t p = 0; p < m.prompts.size(); ++p) {
    out << "\n" << left(m.prompts[p].name, first);
    for (const Column& c : columns) out << c.row(p);
  }
  out << "\n";
}

class PromptTransfer final : public Command {
 public:
  void declare(Flags& f) override {
    f.option("--models", "NAME=DIR", &models_, "Models to put prompts before; repeated, or several with commas")
        .alias("--targets")
        .required();
    f.option("--prompts", "NAME=P", &prompts_, "Learned prompts; the row \"none\" is always there").alias("--sources");
    f.option("--data", "NAME=F", &texts_, "Texts to measure: plain, or the field text of .jsonl or .json.gz")
        .alias("--text")
        .required();
    f.flag("--lines", lines_, "Lines of plain texts are rows, as the papers read WikiText");
    f.option("--join", "S", &join_, "Between rows (default \\n\\n) or records (default one space)");
    f.option("--seq-len", "T", &seq_len_, "Tokens per chunk (default: 1024 or what the models' positions leave)")
        .alias("--seqlen");
    f.option("--max-chunks", "N", &max_chunks_, "Only the first N chunks of each text").alias("--chunks");
    f.option("--out", "F.json", &out_, "Every figure, saved after each cell").alias("-o");
    f.flag("--resume", resume_, "Measure only what OUT does not hold yet; without OUT, start afresh");
  }

  void check() const override {
    require(!seq_len_ || *seq_len_ >= 2, ErrorCode::usage, "--seq-len", "expected 2 or more, found ",
            seq_len_.value_or(0));
    require(!max_chunks_ || *max_chunks_ >= 1, ErrorCode::usage, "--max-chunks", "expected 1 or more, found ",
            max_chunks_.value_or(0));
    require(!resume_ || !out_.empty(), ErrorCode::usage, "--resume", "needs --out");
    (void)request();
  }

  Json run(Session& s) override {
    if (!out_.empty()) check_output_file(out_);
    require(resume_ || out_.empty() || !fs::exists(out_), ErrorCode::usage, out_,
            "exists; --resume goes on with it, else choose another name");
    TransferRequest wanted = request();
    wanted.compute = s.compute;
    TransferMatrix m = plan_transfer(wanted);
    if (resume_ && fs::exists(out_)) take_over(m, read_json(out_), out_);
    if (m.measured() > 0)
      s.log.note(std::to_string(m.measured()) + " of " + std::to_string(m.cells.size()) + " cells are in " + out_);
    measure(s, m);
    for (std::size_t t = 0; t < m.texts.size(); ++t) print_text(s.out, m, t);
    return transfer_json(m);
  }

 private:
  TransferRequest request() const {
    return {.models = named_paths("--models", models_),
            .prompts = named_paths("--prompts", prompts_),
            .texts = named_paths("--data", texts_),
            .reading = {lines_, join_text(join_)},
            .seq_len = seq_len_.value_or(0),
            .max_chunks = max_chunks_.value_or(0)};
  }

  void measure(Session& s, TransferMatrix& m) const {
    const auto save = [&] {
      if (!out_.empty()) write_text_atomic(out_, json_text(transfer_json(m)));
    };
    try {
      measure_transfer(m, save, s.log);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::interrupted || out_.empty() || m.measured() == 0) throw;
      fail(ErrorCode::interrupted, "transfer", "interrupted; ", m.measured(), " of ", m.cells.size(), " cells are in ",
           out_, ", the same command with --resume goes on");
    }
  }

  std::vector<std::string> models_, prompts_, texts_;
  std::string out_;
  std::optional<std::string> join_;
  std::optional<std::int64_t> seq_len_, max_chunks_;
  bool lines_ = false, resume_ = false;
};

}  // namespace

std::unique_ptr<Command> make_prompt_transfer() { return std::make_unique<PromptTransfer>(); }

}  // namespace sinter
