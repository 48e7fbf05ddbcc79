#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/json.h"
#include "models/interchange/gguf_file.h"
#include "models/sentencepiece_model.h"

// Byte-level BPE: GGUF names how a text is cut into words (tokenizer.ggml.pre), a tokenizer.json spells it out.
namespace sinter {

struct PreTokenizerKind {
  std::string_view name;
  std::vector<std::string_view> patterns;  // each cuts what the ones before it left; matches stand alone
  bool whole_words = false;  // ignore_merges
  bool adds_bos = false;  // where the file does not say
};

bool adds_bos(const GgufFile&);  // of a gpt2 vocabulary

// A tokenizer.json with the file's tokens, merges and pre-tokenizer. Error(input) for an unknown tokenizer.ggml.pre.
Json byte_level_tokenizer(const GgufFile&, std::span<const std::string> tokens, std::span<const PieceType> types);

// The name for the pre_tokenizer section of a tokenizer.json, or nothing.
std::optional<std::string_view> pre_tokenizer_name(const Json& tokenizer, const std::string& where);

}  // namespace sinter
