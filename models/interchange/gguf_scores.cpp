#include "models/interchange/gguf_scores.h"

#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "models/tokenizer_decode.h"

namespace sinter {
namespace {

// The two ways in which tokenizer.json files put "▁" for spaces.
SpaceRules spaces_of(const JsonFields& fields, const std::string& where) {
  const std::string mark(unicode::kMetaspace);
  const Json prepend = {{"type", "Prepend"}, {"prepend", mark}};
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}};
  SpaceRules spaces{.dummy_prefix = true, .remove_extra = false};
  const Json *normalizer = fields.find("normalizer"), *cut = fields.find("pre_tokenizer");
  if (normalizer && !cut) {
    if (*normalizer == Json{{"type", "Sequence"}, {"normalizers", {prepend, replace}}}) return spaces;
    spaces.dummy_prefix = false;
    if (*normalizer == replace || *normalizer == Json{{"type", "Sequence"}, {"normalizers", {replace}}}) return spaces;
  }
  if (!normalizer && cut) {
    const JsonFields meta(where + ": pre_tokenizer", *cut);
    const bool whole = meta.text("type") == "Metaspace" && !meta.boolean_or("split", true);
    spaces.dummy_prefix = meta.text_or("prepend_scheme", "always") != "never";
    if (whole && meta.text_or("replacement", mark) == mark) return spaces;
  }
  fail(ErrorCode::unsupported, where, "treats spaces in a way that llama.cpp does not: add a tokenizer.model");
}

using Pieces = std::unordered_map<std::string, std::size_t>;  // of normal type

Pieces read_pieces(const JsonFields& model, const std::string& where, SentencePieceModel& out) {
  const Json& vocabulary = model.at("vocab");
  const std::string unknown = model.text_or("unk_token", "");
  out.pieces.resize(vocabulary.size());
  Pieces normal;
  for (const auto& [text, id] : vocabulary.items()) {
    const auto at = id.get<std::size_t>();
    require(at < out.pieces.size() && out.pieces[at].text.empty(), ErrorCode::unsupported, where,
            "field model.vocab has gaps or an id twice");
    const bool byte = byte_of_piece(text) >= 0;
    out.pieces[at] = {text, 0, byte ? PieceType::byte : text == unknown ? PieceType::unknown : PieceType::normal};
    if (out.pieces[at].type == PieceType::normal) normal.emplace(text, at);
  }
  return normal;
}

}  // namespace

bool has_byte_fallback(const Json& tokenizer, const std::string& where) {
  return JsonFields(where, tokenizer).object("model").boolean_or("byte_fallback", false);
}

SentencePieceModel sentencepiece_of_merges(const Json& tokenizer, const std::string& where) {
  const JsonFields fields(where, tokenizer), model = fields.object("model");
  constexpr const char* kOther = " has merges that no scores stand for: add a tokenizer.model";
  SentencePieceModel out;
  out.spaces = spaces_of(fields, where);
  out.byte_fallback = true;
  const Pieces normal = read_pieces(model, where, out);
  std::unordered_set<std::string> cuts;  // "left right"
  const std::string* last = nullptr;
  float score = 0;
  for (const Json& merge : model.at("merges")) {
    const std::string pair = merge.is_string() ? merge.get<std::string>()
                                               : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>();
    std::string whole = pair;
    whole.erase(whole.find(' '), 1);
    const auto piece = normal.find(whole);
    require(piece != normal.end(), ErrorCode::unsupported, where, "piece ", whole, kOther);
    float& known = out.pieces[piece->second].score;
    if (!last || *last != piece->first) {
      require(known == 0, ErrorCode::unsupported, where, "piece ", whole, kOther);
      known = --score;
    }
    last = &piece->first;
    cuts.insert(pair);
  }
  for (const auto& [text, id] : normal)
    for (std::size_t cut = unicode::length_at(text, 0); cut < text.size(); cut += unicode::length_at(text, cut)) {
      const std::string left = text.substr(0, cut), right = text.substr(cut);
      require(!normal.contains(left) || !normal.contains(right) || cuts.contains(left + " " + right),
              ErrorCode::unsupported, where, "piece ", text, kOther);
    }
  return out;
}

}  // namespace sinter
