#include "apps/healed_model.h"

#include "apps/parts.h"
#include "models/checkpoint.h"
#include "models/tokenizer.h"
#include "train/adapter_file.h"
#include "train/prompt.h"

namespace sinter {

void HealedModel::declare(Flags& f) {
  declare_model(f, model);
  f.option("--soft-prompt", "P", &soft_prompt,
           "A learned prompt before every sequence: .safetensors file or PEFT directory");
  f.option("--hard-prompt", "TEXT", &hard_prompt, "A prompt in words at the same place, to compare with");
  f.option("--adapter", "A", &adapter, "A learned adapter (SPP or LoRA): a directory that finetune or PEFT wrote");
}

HealedModel::Loaded HealedModel::load(LogSink& log) const {
  require(soft_prompt.empty() || hard_prompt.empty(), ErrorCode::usage, "--hard-prompt",
          "and --soft-prompt exclude each other");
  Loaded loaded{load_model(model, &log), {}};
  if (!adapter.empty()) load_adapter(adapter, *loaded.model);
  if (!soft_prompt.empty()) loaded.prompt = soft_prompt_for(soft_prompt, *loaded.model, model);
  if (!hard_prompt.empty()) {
    const auto tokenizer = Tokenizer::load(model);
    const auto ids = tokenizer->encode(hard_prompt, false);
    check_ids(ids, loaded.model->config().vocab, ErrorCode::input, model + ": tokenizer");
    loaded.prompt = text_prompt(*loaded.model, *tokenizer, std::int64_t(ids.size()), hard_prompt);
  }
  return loaded;
}

}  // namespace sinter
