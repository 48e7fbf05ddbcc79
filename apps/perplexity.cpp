// sinter perplexity: disjoint chunks of a text, each scored alone.
#include "train/eval/perplexity.h"

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/healed_model.h"
#include "apps/parts.h"
#include "core/file.h"
#include "core/tensor_file.h"
#include "models/tokenizer.h"
#include "train/data/text.h"

namespace sinter {
namespace {

void write_token_nll(const std::string& path, const Perplexity& p) {
  if (path.ends_with(".json")) return write_text_atomic(path, json_text(Json{{"token_nll", p.token_nll}}));
  write_tensors(path, {{"token_nll", Tensor::of<float>({p.chunks, p.scored_tokens / p.chunks}, p.token_nll)}});
}

class PerplexityCommand final : public Command {
 public:
  void declare(Flags& f) override {
    healed_.declare(f);
    f.option("--text", "F", &text_, "A text file as one text; .jsonl, .json.gz: the field text of its records")
        .alias("-f")
        .alias("--file")
        .required();
    f.flag("--lines", lines_,
           "Lines are rows (row = line + newline, blank line = empty row), as the papers read WikiText");
    f.option("--join", "S", &join_, "Between rows (default \\n\\n) or records (default one space)");
    f.option("--seq-len", "T", &seq_len_, "Tokens per chunk (default: 2048 or what the model's positions leave)")
        .alias("--seqlen")
        .alias("-c")
        .alias("--ctx-size");
    f.option("--max-chunks", "N", &max_chunks_, "Only the first N chunks").alias("--chunks");
    f.option("--recipe", "gptq|llama.cpp", &recipe_,
             "gptq: every token after a chunk's first is scored (default); llama.cpp: <s> in place of a chunk's first "
             "token, its second half is scored; 512 tokens unless --seq-len says otherwise")
        .one_of({"gptq", "llama.cpp"});
    f.option("--token-nll", "F", &token_nll_,
             "Also write the loss of each scored token, [chunks, T - 1] (second halves alone: T / 2 - 1): .safetensors "
             "or .json");
  }

  void check() const override {
    require(!max_chunks_ || *max_chunks_ > 0, ErrorCode::usage, "--max-chunks", "expected 1 or more, found ",
            max_chunks_.value_or(0));
  }

  Json run(Session& s) override {
    const auto [model, soft_prompt] = healed_.load(s.log);
    const auto tokenizer = Tokenizer::load(healed_.model);
    PerplexityOptions o;
    o.soft_prompt = soft_prompt;
    const std::int64_t k = o.soft_prompt ? o.soft_prompt.shape()[0] : 0;
    const bool llama_cpp = recipe_ == "llama.cpp";
    o.seq_len = seq_len_.value_or(default_seq_len(llama_cpp ? 512 : 2048, model->config(), k));
    if (llama_cpp) {
      const auto empty = tokenizer->encode("");
      if (tokenizer->bos() && !empty.empty() && empty.front() == *tokenizer->bos()) o.first = empty.front();
      o.context = o.seq_len / 2;
    }
    o.max_chunks = max_chunks_.value_or(0);
    o.compute = s.compute;
    if (!token_nll_.empty()) check_output_file(token_nll_);
    const auto ids = tokenizer->encode(read_text_as_one(text_, {lines_, join_text(join_)}));
    check_ids(ids, model->config().vocab, ErrorCode::input, healed_.model + ": tokenizer");
    require(o.seq_len < 2 || std::int64_t(ids.size()) >= o.seq_len, ErrorCode::input, text_, "holds ", ids.size(),
            " tokens, fewer than one chunk of ", o.seq_len);
    const Perplexity p = perplexity(*model, ids, o, s.log);
    if (!token_nll_.empty()) write_token_nll(token_nll_, p);
    return report(s, p, k);
  }

 private:
  static Json report(Session& s, const Perplexity& p, std::int64_t k) {
    const double rate = double(p.chunks * p.seq_len) / std::max(p.seconds, 1e-9);
    s.out << "perplexity " << fixed(p.ppl, 4) << "  (" << p.scored_tokens << " tokens scored in " << p.chunks
          << " chunks of " << p.seq_len << ", " << fixed(rate, 0) << " tokens/s)\n";
    if (k > 0)
      s.out << "with the published code's divisor " << fixed(p.ppl_paper, 4) << "  (" << k << " prompt rows counted)\n";
    Json json{{"ppl", p.ppl},
              {"nll", p.nll},
              {"scored_tokens", p.scored_tokens},
              {"chunks", p.chunks},
              {"seq_len", p.seq_len}};
    if (k > 0) {
      json["ppl_paper"] = p.ppl_paper;
      json["prompt_tokens"] = k;
    }
    json["tokens_per_second"] = rate;
    return json;
  }

  HealedModel healed_;
  std::string text_, token_nll_, recipe_;
  std::optional<std::string> join_;
  std::optional<std::int64_t> seq_len_, max_chunks_;
  bool lines_ = false;
};

}  // namespace

std::unique_ptr<Command> make_perplexity() { return std::make_unique<PerplexityCommand>(); }

}  // namespace sinter
