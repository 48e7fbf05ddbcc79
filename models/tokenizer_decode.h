#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer_steps.h"

// Decoders as streams: tokens go in one by one, text comes out as soon as nothing later can change it.
namespace sinter {

class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  // Appends to `out` the tokens that are settled now. `id` is for stages that care for the kind of a token.
  virtual void push(std::int32_t id, std::string token, std::vector<std::string>& out) = 0;
  virtual void finish(std::vector<std::string>&) {}
  // What a token in the middle of a text contributes; bytes, perhaps a part of a character.
  virtual std::string bytes(std::int32_t, std::string token) const { return token; }
};
using DecodeStageFactory = std::function<std::unique_ptr<DecodeStage>()>;

DecodeStageFactory decode_replace(Normalizer replace);
DecodeStageFactory decode_byte_fallback();  // a run of <0xHH> is UTF-8 as a whole, or one U+FFFD per byte
DecodeStageFactory decode_byte_level();
DecodeStageFactory decode_metaspace(std::string replacement, bool drop_first);
// Removes up to `start` and `stop` times the character `content` from the ends of each token, or of the whole text.
DecodeStageFactory decode_strip(std::string content, std::size_t start, std::size_t stop, bool whole);
DecodeStageFactory decode_joined_by_spaces();  // what a tokenizer.json without a decoder means

enum class PieceKind : std::uint8_t { normal, unknown, control, byte, added };
struct SentencePieceDecoding {
  std::vector<PieceKind> kinds;  // by id
  std::string unknown_surface;
  bool drop_first_space = true, drop_leading_spaces = false;
};
DecodeStageFactory decode_sentencepiece(std::shared_ptr<const SentencePieceDecoding> how);

// The byte of "<0x0A>", -1 for any other token.
int byte_of_piece(std::string_view piece);
std::string piece_of_byte(unsigned char byte);

}  // namespace sinter
