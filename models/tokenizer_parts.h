#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "models/bpe.h"
#include "models/tokenizer_added.h"
#include "models/tokenizer_decode.h"
#include "models/tokenizer_steps.h"

// What a tokenizer is made of; each file format fills it in.
namespace sinter {

struct TokenizerParts {
  AddedTokens raw_added;  // cut from the text as it is
  std::vector<Normalizer> normalizers;
  AddedTokens normalized_added;  // cut from the normalised text
  std::vector<PreTokenizer> splitters;
  BpeModel model;
  std::vector<DecodeStageFactory> decoders;

  std::vector<std::string> pieces;  // by id
  std::vector<bool> special;  // by id: left out of decoded text
  std::vector<std::int32_t> before, after;  // ids put around every text
  std::optional<int> bos, eos, unk, pad;
  std::optional<bool> add_bos, add_eos;  // of the format, unless the directory says otherwise; none: as `before` has it

  // Makes room for `id` and names it. Error(input) at `where` for an id that is negative or absurdly large.
  void set_piece(std::int64_t id, std::string piece, const std::string& where);
  void add_token(const AddedToken& token, const std::string& where);
  std::optional<std::int32_t> find(std::string_view piece) const;

  TokenIds added_ids;
};

// tokenizer_config.json, special_tokens_map.json and added_tokens.json of a directory, as far as they exist.
struct TokenizerConfig {
  std::string where;  // the file, for messages
  std::optional<std::string> bos, eos, unk, pad;
  std::optional<bool> add_bos, add_eos, legacy, add_prefix_space;
  std::vector<AddedToken> added;  // with ids
  std::vector<std::string> additional;  // further special tokens, by name
};
TokenizerConfig read_tokenizer_config(const std::filesystem::path& directory);
TokenizerConfig parse_tokenizer_config(const Json& json, const std::string& where);  // the first of them alone

// `where` names the file in messages.
TokenizerParts parse_tokenizer_json(const Json& json, const std::string& where);
TokenizerParts parse_sentencepiece(std::string_view bytes, const std::string& where, const TokenizerConfig& config);
TokenizerParts read_vocab_and_merges(const std::filesystem::path& vocab, const std::filesystem::path& merges,
                                     const TokenizerConfig& config);

// Names bos, eos and pad, adds the tokens of `config` that the parts lack, and applies add_bos / add_eos.
void apply_config(TokenizerParts& parts, const TokenizerConfig& config);

}  // namespace sinter
