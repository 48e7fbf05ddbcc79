#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sinter {

struct TokenizerParts;

// Text to ids and back, for the tokenizers of LLaMA and OPT checkpoints. Immutable and safe to share between threads.
class Tokenizer {
 public:
  // A GGUF file, or a checkpoint directory: tokenizer.json, else tokenizer.model (SentencePiece BPE), or vocab.json + merges.txt,
  // with tokenizer_config.json, special_tokens_map.json and added_tokens.json where they are. An explicit add_bos_token
  // or add_eos_token of tokenizer_config.json holds for each of the three. Error(input) names file and field.
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& model_dir);

  explicit Tokenizer(TokenizerParts parts);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // special: with what the tokenizer puts before and after a text (LLaMA <s>, OPT </s>). Names of special tokens inside
  // the text become their ids in any case. Bytes that are not UTF-8 count as U+FFFD.
  std::vector<std::int32_t> encode(std::string_view text, bool special = true) const;
  // Valid UTF-8. Ids without text (beyond size(), which an embedding padded to more rows may give) add nothing.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = true) const;

  std::int64_t size() const;  // largest id + 1
  std::optional<int> bos() const;
  std::optional<int> eos() const;
  std::optional<int> pad() const;
  bool is_special(std::int32_t id) const;
  const std::string& piece(std::int32_t id) const;  // as the files write it; "" for an id without a token
  std::optional<std::int32_t> id(std::string_view piece) const;
  // What id contributes in the middle of a text, perhaps a part of a character. "" for special ids.
  std::string bytes(std::int32_t id) const;

 private:
  friend class DecodeStream;
  void encode_part(std::string_view text, bool first, std::vector<std::int32_t>& out) const;
  std::unique_ptr<const TokenizerParts> parts_;
};

class DecodeStage;

// decode() for ids that arrive one by one. Every piece returned is valid UTF-8; an unfinished character waits. All
// pieces together, finish() included, equal decode() of all ids. The tokenizer must outlive it.
class DecodeStream {
 public:
  explicit DecodeStream(const Tokenizer& tokenizer, bool skip_special = true);
  ~DecodeStream();
  std::string push(std::int32_t id);
  std::string finish();

 private:
  std::string run(std::size_t from, std::vector<std::string> tokens, std::int32_t id, bool finish);
  const TokenizerParts* parts_;
  bool skip_special_;
  std::vector<std::unique_ptr<DecodeStage>> stages_;
};

}  // namespace sinter
