#pragma once
#include <filesystem>
#include <map>
#include <string>

#include "train/trainer.h"

namespace sinter {

// "Compress, then prompt" (Xu et al., arXiv 2305.11186): k input vectors before every sequence, learned while the
// compressed model stays frozen. min_E Σ_t −log P(x_t | e_1 .. e_k, x_0 .. x_{t−1}), t >= 1.
class PromptTask final : public Task {
 public:
  explicit PromptTask(Tensor initial) : prompt_("prompt_embeddings", std::move(initial)) {}  // [k, w] f32
  std::vector<Param*> trainable() override { return {&prompt_}; }
  Var loss(const Context& ctx, const CausalLM& model, const Batch& batch) const override {
    return batch_loss(model, ctx, batch, ctx.use(prompt_));
  }
  const Tensor& prompt() const { return prompt_.value(); }

 private:
  Param prompt_;
};

// Starting points, all [k, w] rows of the embedding table: random ids (the paper), the first k (its released code), or
// the ids of a text, repeated or cut to k.
Tensor random_prompt(const CausalLM&, std::int64_t k, Rng);
Tensor first_prompt(const CausalLM&, std::int64_t k);
Tensor text_prompt(const CausalLM&, const Tokenizer&, std::int64_t k, std::string_view text);

// Nats per scored token of the windows with this prompt.
double prompt_validation(const CausalLM&, const Windows&, const Tensor& prompt, Compute);

// A soft prompt on disk: P.safetensors is one file, any other path a PEFT prompt-tuning directory. docs/formats.md
struct PromptFacts {
  std::string base_model;
  std::map<std::string, std::string> extra;  // metadata "sinter.<key>"
};
void save_prompt(const std::filesystem::path&, const Tensor& prompt, const CausalLM&, const Tokenizer&,
                 const PromptFacts&);

// Also what others save: a PEFT directory with adapter_model.bin, and the nn.Embedding that the authors' code writes as
// soft_prompt.model (the file, or a directory with it). Error(input) names what does not fit: width, vocabulary, type,
// or a file that is no soft prompt.
Tensor load_prompt(const std::filesystem::path&, const ModelConfig&, const Tokenizer&);
inline Tensor load_prompt(const std::filesystem::path& path, const CausalLM& model, const Tokenizer& tokenizer) {
  return load_prompt(path, model.config(), tokenizer);
}

// What PromptFacts::extra said when it was saved; nothing where others saved it.
std::map<std::string, std::string> prompt_facts(const std::filesystem::path&);

// Of all pieces: two tokenizers that agree on it give the same ids the same texts.
std::string tokenizer_fingerprint(const Tokenizer&);

}  // namespace sinter
