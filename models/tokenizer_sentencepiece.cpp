#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/file.h"
#include "models/protobuf.h"
#include "models/tokenizer_parts.h"

// tokenizer.model: the protobuf ModelProto of SentencePiece (Kudo and Richardson 2018), byte pair models only.
namespace sinter {
namespace {

// Every way to cut a piece in two is looked up once; this bounds the work that a hostile file can ask for.
constexpr std::size_t kLongestPiece = 1024;

enum class Type : std::int64_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct Piece {
  std::string text;
  float score = 0;
  Type type = Type::normal;
};

struct Model {
  std::vector<Piece> pieces;
  std::int64_t model_type = 1;
  bool byte_fallback = false, space_suffix = false;
  std::string unknown_surface = " \xE2\x81\x87 ";
  std::string bos = "<s>", eos = "</s>", pad = "<pad>";
  SpaceRules spaces;
  bool has_charsmap = false;
};

Piece read_piece(std::string_view message, std::size_t index, const std::string& where) {
  const std::string at = where + ": piece " + std::to_string(index);
  ProtoReader reader(message, at);
  Piece piece;
  while (const auto field = reader.next()) {
    if (field->number == 1) piece.text = reader.bytes(*field);
    if (field->number == 2) piece.score = reader.real(*field);
    if (field->number == 3) {
      const std::int64_t type = reader.integer(*field);
      require(type >= 1 && type <= 6, ErrorCode::input, at, "type ", type, ", expected 1 to 6");
      piece.type = static_cast<Type>(type);
    }
  }
  require(!piece.text.empty() && piece.text.size() <= kLongestPiece, ErrorCode::input, at, "is ", piece.text.size(),
          " bytes long, expected 1 to ", kLongestPiece);
  require(unicode::is_valid(piece.text), ErrorCode::input, at, "is not UTF-8");
  require(std::isfinite(piece.score), ErrorCode::input, at, "score is not finite");
  return piece;
}

void read_trainer(std::string_view message, const std::string& where, Model& model) {
  ProtoReader reader(message, where);
  while (const auto field = reader.next()) {
    switch (field->number) {
      case 3: model.model_type = reader.integer(*field); break;
      case 24: model.space_suffix = reader.integer(*field) != 0; break;
      case 35: model.byte_fallback = reader.integer(*field) != 0; break;
      case 44: model.unknown_surface = reader.bytes(*field); break;
      case 46: model.bos = reader.bytes(*field); break;
      case 47: model.eos = reader.bytes(*field); break;
      case 48: model.pad = reader.bytes(*field); break;
      default: break;
    }
  }
}

void read_normalizer(std::string_view message, const std::string& where, Model& model) {
  ProtoReader reader(message, where);
  while (const auto field = reader.next()) {
    switch (field->number) {
      case 2: model.has_charsmap = !reader.bytes(*field).empty(); break;
      case 3: model.spaces.dummy_prefix = reader.integer(*field) != 0; break;
      case 4: model.spaces.remove_extra = reader.integer(*field) != 0; break;
      case 5: model.spaces.escape = reader.integer(*field) != 0; break;
      default: break;
    }
  }
}

Model read_model(const std::filesystem::path& file) {
  const std::string where = file.string();
  const MappedFile mapped(file);
  ProtoReader reader(mapped.text(), where);
  Model model;
  while (const auto field = reader.next()) {
    switch (field->number) {
      case 1: model.pieces.push_back(read_piece(reader.bytes(*field), model.pieces.size(), where)); break;
      case 2: read_trainer(reader.bytes(*field), where + ": trainer_spec", model); break;
      case 3: read_normalizer(reader.bytes(*field), where + ": normalizer_spec", model); break;
      default: break;
    }
  }
  require(!model.pieces.empty(), ErrorCode::input, where, "holds no pieces: is it a SentencePiece model?");
  require(model.model_type == 2, ErrorCode::input, where, "trainer_spec.model_type is ", model.model_type,
          ", expected 2 (BPE)");
  require(!model.has_charsmap, ErrorCode::input, where,
          "normalizer_spec.precompiled_charsmap is not empty, only the identity is supported");
  require(!model.space_suffix, ErrorCode::input, where, "trainer_spec.treat_whitespace_as_suffix is not supported");
  require(unicode::is_valid(model.unknown_surface), ErrorCode::input, where, "trainer_spec.unk_surface is not UTF-8");
  return model;
}

bool from_text(Type type) { return type == Type::normal || type == Type::user_defined || type == Type::unused; }

// A pair may be merged when its two strings together are a piece; better scores go first. So each way to cut a piece
// into two pieces is a merge rule, ranked by the score of the whole.
void add_merges(const Model& source, BpeModel& model) {
  std::vector<float> scores;
  std::array<bool, kLongestPiece + 1> lengths = {};
  for (const Piece& piece : source.pieces) {
    if (!from_text(piece.type)) continue;
    scores.push_back(piece.score);
    lengths[piece.text.size()] = true;
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());

  for (const auto& [text, id] : model.ids) {
    const Piece& piece = source.pieces[static_cast<std::size_t>(id)];
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

void add_pieces(const Model& source, const std::string& where, TokenizerParts& parts, SentencePieceDecoding& decoding) {
  BpeModel& model = parts.model;
  std::vector<std::int32_t> byte_ids(256, -1);
  for (std::size_t i = 0; i < source.pieces.size(); ++i) {
    const Piece& piece = source.pieces[i];
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

TokenizerParts read_sentencepiece(const std::filesystem::path& file, const TokenizerConfig& config) {
  const Model source = read_model(file);
  TokenizerParts parts;
  auto decoding = std::make_shared<SentencePieceDecoding>();
  add_pieces(source, file.string(), parts, *decoding);
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
