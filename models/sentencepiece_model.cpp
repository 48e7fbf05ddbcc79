#include "models/sentencepiece_model.h"

#include <cmath>

#include "core/error.h"
#include "models/protobuf.h"

namespace sinter {
namespace {

constexpr std::int64_t kBpe = 2;  // TrainerSpec.ModelType

SentencePiece read_piece(std::string_view message, std::size_t index, const std::string& where) {
  const std::string at = where + ": piece " + std::to_string(index);
  ProtoReader reader(message, at);
  SentencePiece piece;
  while (const auto field = reader.next()) {
    if (field->number == 1) piece.text = reader.bytes(*field);
    if (field->number == 2) piece.score = reader.real(*field);
    if (field->number == 3) {
      const std::int64_t type = reader.integer(*field);
      require(type >= 1 && type <= 6, ErrorCode::input, at, "type ", type, ", expected 1 to 6");
      piece.type = static_cast<PieceType>(type);
    }
  }
  require(!piece.text.empty() && piece.text.size() <= kLongestPiece, ErrorCode::input, at, "is ", piece.text.size(),
          " bytes long, expected 1 to ", kLongestPiece);
  require(unicode::is_valid(piece.text), ErrorCode::input, at, "is not UTF-8");
  require(std::isfinite(piece.score), ErrorCode::input, at, "score is not finite");
  return piece;
}

void read_trainer(std::string_view message, const std::string& where, SentencePieceModel& model) {
  const std::string at = where + ": trainer_spec";
  ProtoReader reader(message, at);
  std::int64_t kind = 1;
  bool space_suffix = false;
  while (const auto field = reader.next()) {
    switch (field->number) {
      case 3: kind = reader.integer(*field); break;
      case 24: space_suffix = reader.integer(*field) != 0; break;
      case 35: model.byte_fallback = reader.integer(*field) != 0; break;
      case 44: model.unknown_surface = reader.bytes(*field); break;
      case 46: model.bos = reader.bytes(*field); break;
      case 47: model.eos = reader.bytes(*field); break;
      case 48: model.pad = reader.bytes(*field); break;
      default: break;
    }
  }
  require(kind == kBpe, ErrorCode::input, where, "trainer_spec.model_type is ", kind, ", expected 2 (BPE)");
  require(!space_suffix, ErrorCode::input, where, "trainer_spec.treat_whitespace_as_suffix is not supported");
  require(unicode::is_valid(model.unknown_surface), ErrorCode::input, where, "trainer_spec.unk_surface is not UTF-8");
}

void read_normalizer(std::string_view message, const std::string& where, SpaceRules& spaces) {
  const std::string at = where + ": normalizer_spec";
  ProtoReader reader(message, at);
  while (const auto field = reader.next()) {
    switch (field->number) {
      case 2:
        require(reader.bytes(*field).empty(), ErrorCode::input, where,
                "normalizer_spec.precompiled_charsmap is not empty, only the identity is supported");
        break;
      case 3: spaces.dummy_prefix = reader.integer(*field) != 0; break;
      case 4: spaces.remove_extra = reader.integer(*field) != 0; break;
      case 5: spaces.escape = reader.integer(*field) != 0; break;
      default: break;
    }
  }
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& where) {
  ProtoReader reader(bytes, where);
  SentencePieceModel model;
  bool trainer = false;
  while (const auto field = reader.next()) {
    switch (field->number) {
      case 1: model.pieces.push_back(read_piece(reader.bytes(*field), model.pieces.size(), where)); break;
      case 2:
        read_trainer(reader.bytes(*field), where, model);
        trainer = true;
        break;
      case 3: read_normalizer(reader.bytes(*field), where, model.spaces); break;
      default: break;
    }
  }
  require(!model.pieces.empty(), ErrorCode::input, where, "holds no pieces: is it a SentencePiece model?");
  require(trainer, ErrorCode::input, where, "trainer_spec.model_type is missing, expected 2 (BPE)");
  return model;
}

std::string sentencepiece_bytes(const SentencePieceModel& model) {
  ProtoWriter out;
  for (const SentencePiece& p : model.pieces) {
    ProtoWriter piece;
    piece.bytes(1, p.text);
    piece.real(2, p.score);
    piece.integer(3, static_cast<std::int64_t>(p.type));
    out.bytes(1, piece.message());
  }
  ProtoWriter trainer;
  trainer.integer(3, kBpe);
  trainer.integer(35, model.byte_fallback);
  trainer.bytes(44, model.unknown_surface);
  trainer.bytes(46, model.bos);
  trainer.bytes(47, model.eos);
  trainer.bytes(48, model.pad);
  out.bytes(2, trainer.message());
  ProtoWriter normalizer;
  normalizer.bytes(1, "identity");
  normalizer.integer(3, model.spaces.dummy_prefix);
  normalizer.integer(4, model.spaces.remove_extra);
  normalizer.integer(5, model.spaces.escape);
  out.bytes(3, normalizer.message());
  return out.message();
}

}  // namespace sinter
