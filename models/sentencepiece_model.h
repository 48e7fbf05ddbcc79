#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer_steps.h"

// tokenizer.model: the protobuf ModelProto of SentencePiece (Kudo and Richardson 2018), byte pair models only.
namespace sinter {

// Every way to cut a piece in two is looked up once; this bounds the work that a hostile file can ask for.
inline constexpr std::size_t kLongestPiece = 1024;

enum class PieceType : std::int64_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct SentencePiece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::normal;
};

struct SentencePieceModel {
  std::vector<SentencePiece> pieces;  // by id
  bool byte_fallback = false;
  std::string unknown_surface = " \xE2\x81\x87 ";
  std::string bos = "<s>", eos = "</s>", pad = "<pad>";
  SpaceRules spaces;
};

// Error(input) at `where` for what is malformed, for another kind of model, and for normalisers other than identity.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& where);
std::string sentencepiece_bytes(const SentencePieceModel&);

}  // namespace sinter
