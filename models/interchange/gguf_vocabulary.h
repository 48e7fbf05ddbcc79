#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/sentencepiece_model.h"

namespace sinter {

// A tokenizer in llama.cpp's terms.
struct GgufVocabulary {
  std::string model;  // "llama" (SentencePiece) or "gpt2" (byte-level BPE)
  std::string pre;  // how a text is cut into words
  std::vector<std::string> tokens;  // by id, no two the same
  std::vector<PieceType> types;
  std::vector<float> scores;  // llama
  std::vector<std::string> merges;  // gpt2: "a b", the first goes first
  std::optional<int> bos, eos, unknown, pad;
  bool add_bos = false, add_eos = false, add_space_prefix = false;
  std::string chat_template;  // or empty
};

// The tokenizer of a model directory or GGUF file, with a token for each of the `rows` of the embedding. Error
// (unsupported) for what llama.cpp would cut differently.
GgufVocabulary gguf_vocabulary(const std::filesystem::path& model, std::int64_t rows);

}  // namespace sinter
