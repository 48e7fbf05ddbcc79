// sinter prompt bake: a soft prompt becomes words of the model's vocabulary.
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/parts.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "train/bake.h"

namespace sinter {
namespace {

class PromptBake final : public Command {
 public:
  void declare(Flags& f) override {
    declare_model(f, model_);
    f.option("--soft-prompt", "P", &prompt_, "The learned prompt: .safetensors file or PEFT directory").required();
    f.option("--out", "DIR", &out_, "Where the model with the prompt goes")
        .alias("-o")
        .alias("--output-dir")
        .required();
  }

  Json run(Session& s) override {
    const auto model = load_model(model_, &s.log);
    const Tensor prompt = soft_prompt_for(prompt_, *model, model_);
    AtomicDirectory dir(out_);
    const BakedPrompt b = bake_prompt(*model, model_, prompt, dir.path(), storage_changes(*model, model_));
    dir.commit();
    return report(s, b);
  }

 private:
  Json report(Session& s, const BakedPrompt& b) const {
    const std::string last = std::to_string(b.tokens - 1),
                      ids = std::to_string(b.first) + " .. " + std::to_string(b.first + b.tokens - 1);
    s.out << b.tokens << " prompt rows are the tokens <sp_0> .. <sp_" << last << ">, ids " << ids << "; vocabulary "
          << b.vocab_before << " -> " << b.vocab << "\n";
    if (b.own_head) s.out << "the head, which was the embedding table, is a matrix of its own now\n";
    if (b.widened) s.out << "the embedding is stored as F32: the prompt is not exact in its former type\n";
    s.out << "\nA text must begin with\n    <sp_0><sp_1>...<sp_" << last << ">" << b.start << "\nas one word: " << out_
          << "/prompt_prefix.txt holds it in full.";
    if (!b.start.empty())
      s.out << " The prompt stands before " << b.start << ", so " << b.start
            << " is written\nin the text, and the program must not add its own:";
    s.out << "\n  sinter        generate " << out_ << " --no-special --prompt \"$(cat " << out_
          << "/prompt_prefix.txt)Once upon a time\"\n"
          << "  transformers  tokenizer(prefix + text, add_special_tokens=False)\n"
          << "  vLLM          \"add_special_tokens\": false in the request\n"
          << "  llama.cpp     --override-kv tokenizer.ggml.add_bos_token=bool:false, after sinter export --to gguf\n"
          << "No program generates the new tokens: each has the mean of all logits, which is never the largest, and "
             "generation_config.json\nsuppresses them. A perplexity measured over all logits rises by less than "
          << fixed(b.largest_shift, 4) << " nats.\nwritten to " << out_ << "\n";
    return {{"out", out_},           {"tokens", b.tokens},     {"first_id", b.first},
            {"vocab_size", b.vocab}, {"own_head", b.own_head}, {"widened", b.widened},
            {"start", b.start},      {"prefix", b.prefix},     {"largest_shift", b.largest_shift}};
  }

  std::string model_, prompt_, out_;
};

}  // namespace

std::unique_ptr<Command> make_prompt_bake() { return std::make_unique<PromptBake>(); }

}  // namespace sinter
