#include <algorithm>
#include <array>

#include "core/error.h"
#include "models/sentencepiece_model.h"
#include "models/tokenizer_parts.h"

namespace sinter {
namespace {

using Type = PieceType;

bool from_text(Type type) { return type == Type::normal || type == Type::user_defined || type == Type::unused; }

// A pair may be merged when its two strings together are a piece; better scores go first. So each way to cut a piece
// into two pieces is a merge rule, ranked by the score of the whole.
void add_merges(const SentencePieceModel& source, BpeModel& model) {
  std::vector<float> scores;
  std::array<bool, kLongestPiece + 1> lengths = {};
  for (const SentencePiece& piece : source.pieces) {
    if (!from_text(piece.type)) continue;
    scores.push_back(piece.score);
    lengths[piece.text.size()] = true;
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());

  for (const auto& [text, id] : model.ids) {
    const SentencePiece& piece = source.pieces[static_cast<std::size_t>(id)];
    const auto rank = std::lower_bound(scores.begin(), scores.end(), piece.score, std::greater<>()) - scores.begin();
    const std::string_view whole = text;
    for (std::size_t cut = unicode::length_at(whole, 0); cut < whole.size(); cut += unicode::length_at(whole, cut)) {
      if (!lengths[cut] || !lengths[whole.size() - cut]) continue;
      const auto left = model.ids.find(whole.substr(0, cut));
      const auto right = model.ids.find(whole.substr(cut));
      if (left == model.ids.end() || right == model.ids.end()) continue;
      model.merges.add(left->second, right->second, static_cast<std::uint32_t>(rank), id, piece.type == Type::unused);
    }
  }
}

PieceKind kind_of(Type type) {
  switch (type) {
    case Type::unknown: return PieceKind::unknown;
    case Type::control: return PieceKind::control;
    case Type::byte: return PieceKind::byte;
    default: return PieceKind::normal;
  }
}

void add_pieces(const SentencePieceModel& source, const std::string& where, TokenizerParts& parts,
                SentencePieceDecoding& decoding) {
  BpeModel& model = parts.model;
  std::vector<std::int32_t> byte_ids(256, -1);
  for (std::size_t i = 0; i < source.pieces.size(); ++i) {
    const SentencePiece& piece = source.pieces[i];
    const auto id = static_cast<std::int32_t>(i);
    const std::string at = where + ": piece " + std::to_string(i);
    parts.set_piece(id, piece.text, at);
    parts.special[i] = piece.type == Type::control;
    decoding.kinds.push_back(kind_of(piece.type));
    if (piece.type == Type::unknown) {
      require(!parts.unk, ErrorCode::input, at, "is a second unknown piece");
      parts.unk = id;
    } else if (piece.type == Type::byte) {
      const int byte = byte_of_piece(piece.text);
      require(byte >= 0, ErrorCode::input, at, "'", piece.text, "' has type byte, expected a text such as <0x0A>");
      byte_ids[static_cast<std::size_t>(byte)] = id;
    } else if (from_text(piece.type)) {
      require(model.ids.emplace(piece.text, id).second, ErrorCode::input, at, "'", piece.text, "' occurs twice");
      if (piece.type == Type::user_defined) model.frozen.add(piece.text, id);
    } else {
      if (piece.text == source.bos) parts.bos = id;
      if (piece.text == source.eos) parts.eos = id;
      if (piece.text == source.pad) parts.pad = id;
    }
  }
  require(parts.unk.has_value(), ErrorCode::input, where, "has no unknown piece");
  model.unknown = parts.unk;
  model.fuse_unknown = true;
  if (!source.byte_fallback) return;
  const auto missing = std::find(byte_ids.begin(), byte_ids.end(), -1);
  require(missing == byte_ids.end(), ErrorCode::input, where, "byte_fallback without the piece ",
          piece_of_byte(static_cast<unsigned char>(missing - byte_ids.begin())));
  model.byte_ids = std::move(byte_ids);
}

}  // namespace

TokenizerParts parse_sentencepiece(std::string_view bytes, const std::string& where, const TokenizerConfig& config) {
  const SentencePieceModel source = parse_sentencepiece_model(bytes, where);
  TokenizerParts parts;
  auto decoding = std::make_shared<SentencePieceDecoding>();
  add_pieces(source, where, parts, *decoding);
  add_merges(source, parts.model);

  parts.model.prepare();
  const bool legacy = config.legacy.value_or(true);
  SpaceRules spaces = source.spaces;
  spaces.only_first_prefix = !legacy;
  if (!legacy && !config.add_prefix_space.value_or(true)) spaces.dummy_prefix = false;
  parts.normalizers.push_back(sentencepiece_spaces(spaces));

  decoding->unknown_surface = source.unknown_surface;
  decoding->drop_first_space = spaces.dummy_prefix;
  decoding->drop_leading_spaces = spaces.remove_extra;
  parts.decoders.push_back(decode_sentencepiece(std::move(decoding)));
  parts.add_bos = true;
  parts.add_eos = false;
  return parts;
}

}  // namespace sinter
