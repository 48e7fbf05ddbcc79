#include "models/interchange/gguf_vocabulary.h"

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "models/interchange/gguf.h"
#include "models/interchange/gguf_pre.h"
#include "models/interchange/gguf_scores.h"
#include "models/tokenizer.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

// The tokenizer as files, whatever it came from.
struct Source {
  std::string where, model, json;  // tokenizer.model and tokenizer.json, empty where there is none
  Json config;  // tokenizer_config.json
};

Source source_of(const fs::path& model) {
  if (is_gguf(model)) {
    GgufTokenizer t = gguf_tokenizer(model);
    Source s{model.string(), {}, {}, parse_json(t.config, model.string())};
    (t.file == "tokenizer.model" ? s.model : s.json) = std::move(t.content);
    return s;
  }
  Source s{model.string(), {}, {}, Json::object()};
  if (const auto config = model / "tokenizer_config.json"; fs::exists(config)) s.config = read_json(config);
  if (const auto file = model / "tokenizer.model"; fs::exists(file)) s.model = read_text(file);
  if (const auto file = model / "tokenizer.json"; fs::exists(file)) s.json = read_text(file);
  require(!s.model.empty() || !s.json.empty(), ErrorCode::unsupported, s.where,
          "has neither tokenizer.model nor tokenizer.json, one of them is needed for llama.cpp");
  return s;
}

constexpr float kAddedScore = -1000, kPadScore = -10000;  // as llama.cpp's converter gives them

// Ids that `take` (id) does not know are added tokens, or rows of the embedding without one.
template <class Take>
void fill(GgufVocabulary& v, const Tokenizer& t, std::int64_t rows, const Take& take) {
  for (std::int32_t id = 0; id < rows; ++id) {
    if (take(id)) continue;
    const std::string& piece = t.piece(id);
    v.tokens.push_back(piece.empty() ? "[PAD" + std::to_string(id) + "]" : piece);
    v.types.push_back(piece.empty()      ? PieceType::unused
                      : t.is_special(id) ? PieceType::control
                                         : PieceType::user_defined);
    v.scores.push_back(piece.empty() ? kPadScore : kAddedScore);
  }
}

void from_sentencepiece(const Source& s, const SentencePieceModel& m, const Tokenizer& t, std::int64_t rows,
                        GgufVocabulary& v) {
  require(m.byte_fallback, ErrorCode::unsupported, s.where,
          "the tokenizer has no byte pieces, llama.cpp stops at the first character that it does not know");
  require(!m.spaces.remove_extra && m.spaces.escape, ErrorCode::unsupported, s.where,
          "the tokenizer collapses spaces, llama.cpp does not");
  const JsonFields config(s.where + ": tokenizer_config.json", s.config);
  v.model = "llama";
  v.pre = "default";
  v.add_space_prefix =
      m.spaces.dummy_prefix && (config.boolean_or("legacy", true) || config.boolean_or("add_prefix_space", true));
  fill(v, t, rows, [&](std::int32_t id) {
    if (std::size_t(id) >= m.pieces.size()) return false;
    const SentencePiece& piece = m.pieces[std::size_t(id)];
    const bool hidden = t.is_special(id) && piece.type == PieceType::normal;
    v.tokens.push_back(piece.text);
    v.types.push_back(hidden ? PieceType::control : piece.type);
    v.scores.push_back(piece.score);
    if (piece.type == PieceType::unknown) v.unknown = id;
    if (piece.type == PieceType::user_defined)  // looked for in the text as it is
      replace_literal(std::string(unicode::kMetaspace), " ")(v.tokens.back(), false);
    return true;
  });
}

void from_byte_level(const Json& json, const std::string& where, const Tokenizer& t, std::int64_t rows,
                     GgufVocabulary& v) {
  const JsonFields fields(where, json), model = fields.object("model");
  const auto pre = pre_tokenizer_name(json, where);
  require(pre.has_value(), ErrorCode::unsupported, where, "cuts a text in a way that llama.cpp has no name for");
  require(!fields.has("normalizer"), ErrorCode::unsupported, where, "has a normalizer, llama.cpp leaves it out");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    require(model.text_or(affix, "").empty(), ErrorCode::unsupported, where, "field model.", affix,
            " is not empty, llama.cpp does not know it");
  v.model = "gpt2";
  v.pre = *pre;
  std::unordered_set<std::int64_t> added;
  if (const Json* list = fields.find("added_tokens"))
    for (const Json& entry : *list) added.insert(JsonFields(where, entry).integer("id", 0));
  fill(v, t, rows, [&](std::int32_t id) {
    if (t.piece(id).empty() || added.contains(id)) return false;
    v.tokens.push_back(t.piece(id));
    v.types.push_back(PieceType::normal);
    v.scores.push_back(0);
    return true;
  });
  for (const Json& merge : model.at("merges"))
    v.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                         : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());
}

}  // namespace

GgufVocabulary gguf_vocabulary(const fs::path& model, std::int64_t rows) {
  const auto tokenizer = Tokenizer::load(model);  // which checks the files
  const Source source = source_of(model);
  GgufVocabulary v;
  const std::string where = source.where + ": tokenizer.json";
  const Json json = source.json.empty() ? Json() : parse_json(source.json, where);
  if (json.is_object() && !has_byte_fallback(json, where)) from_byte_level(json, where, *tokenizer, rows, v);
  else if (source.model.empty()) from_sentencepiece(source, sentencepiece_of_merges(json, where), *tokenizer, rows, v);
  else from_sentencepiece(source, parse_sentencepiece_model(source.model, source.where), *tokenizer, rows, v);
  require(tokenizer->size() <= rows, ErrorCode::unsupported, source.where, "the tokenizer has ", tokenizer->size(),
          " tokens, the embedding ", rows, " rows");
  v.bos = tokenizer->bos();
  v.eos = tokenizer->eos();
  v.pad = tokenizer->pad();
  const auto around = tokenizer->encode("");
  v.add_bos = v.bos && !around.empty() && around.front() == *v.bos;
  v.add_eos = v.eos && around.size() > std::size_t(v.add_bos) && around.back() == *v.eos;
  require(around.size() == std::size_t(v.add_bos) + std::size_t(v.add_eos), ErrorCode::unsupported, source.where,
          "the tokenizer puts more than begin and end tokens around a text");
  std::unordered_set<std::string_view> seen;
  for (const std::string& token : v.tokens)
    require(seen.insert(token).second, ErrorCode::unsupported, source.where, "token ", token,
            " occurs twice, llama.cpp takes each once");
  const Json* chat = source.config.is_object() && source.config.contains("chat_template")
                         ? &source.config.at("chat_template")
                         : nullptr;
  if (chat && chat->is_string()) v.chat_template = chat->get<std::string>();
  return v;
}

}  // namespace sinter
