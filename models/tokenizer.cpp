#include "models/tokenizer.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "models/interchange/gguf.h"
#include "models/tokenizer_parts.h"

namespace sinter {
namespace {

// The largest vocabularies have a quarter of a million tokens; a table grows with the largest id.
constexpr std::int64_t kMaxIds = 1 << 20;

bool known(const TokenizerParts& parts, std::int32_t id) {
  return id >= 0 && static_cast<std::size_t>(id) < parts.pieces.size();
}

}  // namespace

void TokenizerParts::set_piece(std::int64_t id, std::string piece, const std::string& where) {
  require(id >= 0 && id < kMaxIds, ErrorCode::input, where, "id ", id, " of token '", piece, "' is not in 0..",
          kMaxIds - 1);
  const auto at = static_cast<std::size_t>(id);
  if (at >= pieces.size()) {
    pieces.resize(at + 1);
    special.resize(at + 1);
  }
  require(pieces[at].empty() || pieces[at] == piece, ErrorCode::input, where, "tokens '", pieces[at], "' and '", piece,
          "' both have id ", id);
  pieces[at] = std::move(piece);
}

void TokenizerParts::add_token(const AddedToken& token, const std::string& where) {
  if (token.content.empty()) return;
  require(unicode::is_valid(token.content), ErrorCode::input, where, "added token ", token.id, " is not UTF-8");
  set_piece(token.id, token.content, where);
  special[static_cast<std::size_t>(token.id)] = token.special;
  added_ids[token.content] = token.id;
  if (!token.normalized) return raw_added.add(token, token.content);
  std::string content = token.content;
  for (const Normalizer& normalize : normalizers) normalize(content, false);
  normalized_added.add(token, content);
}

std::optional<std::int32_t> TokenizerParts::find(std::string_view piece) const {
  if (const auto added = added_ids.find(piece); added != added_ids.end()) return added->second;
  if (const auto in_model = model.ids.find(piece); in_model != model.ids.end()) return in_model->second;
  const auto other = std::find(pieces.begin(), pieces.end(), piece);  // a control or byte piece
  if (piece.empty() || other == pieces.end()) return std::nullopt;
  return static_cast<std::int32_t>(other - pieces.begin());
}

namespace {

TokenizerParts read_parts(const std::filesystem::path& directory, const TokenizerConfig& config) {
  std::error_code ignored;
  const auto has = [&](const char* name) { return std::filesystem::exists(directory / name, ignored); };
  TokenizerParts parts;
  if (has("tokenizer.json")) {
    const auto file = directory / "tokenizer.json";
    parts = parse_tokenizer_json(read_json(file), file.string());
  } else if (has("tokenizer.model")) {
    const auto file = directory / "tokenizer.model";
    parts = parse_sentencepiece(MappedFile(file).text(), file.string(), config);
  } else if (has("vocab.json") && has("merges.txt")) {
    parts = read_vocab_and_merges(directory / "vocab.json", directory / "merges.txt", config);
  } else {
    fail(ErrorCode::input, directory.string(),
         "no tokenizer here: expected tokenizer.json, tokenizer.model, or vocab.json with merges.txt");
  }
  apply_config(parts, config);
  return parts;
}

TokenizerParts read_gguf_parts(const std::filesystem::path& path) {
  const GgufTokenizer files = gguf_tokenizer(path);
  const std::string where = path.string();
  const TokenizerConfig config = parse_tokenizer_config(parse_json(files.config, where), where);
  TokenizerParts parts = files.file == "tokenizer.json" ? parse_tokenizer_json(parse_json(files.content, where), where)
                                                        : parse_sentencepiece(files.content, where, config);
  apply_config(parts, config);
  return parts;
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::load(const std::filesystem::path& model) {
  return std::make_shared<const Tokenizer>(is_gguf(model) ? read_gguf_parts(model)
                                                          : read_parts(model, read_tokenizer_config(model)));
}

Tokenizer::Tokenizer(TokenizerParts parts) : parts_(std::make_unique<const TokenizerParts>(std::move(parts))) {}
Tokenizer::~Tokenizer() = default;

void Tokenizer::encode_part(std::string_view part, bool first, std::vector<std::int32_t>& out) const {
  std::string text(part);
  for (const Normalizer& normalize : parts_->normalizers) normalize(text, first);
  for (const AddedTokens::Part& piece : parts_->normalized_added.split(text)) {
    if (piece.id) {
      out.push_back(*piece.id);
      continue;
    }
    std::vector<std::string> words = {text.substr(piece.begin, piece.end - piece.begin)};
    for (const PreTokenizer& split : parts_->splitters) split(words, first && piece.begin == 0);
    for (const std::string& word : words) parts_->model.encode(word, out);
  }
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool special) const {
  std::vector<std::int32_t> ids;
  if (special) ids = parts_->before;
  const std::string clean = unicode::replace_invalid(text);
  for (const AddedTokens::Part& part : parts_->raw_added.split(clean)) {
    if (part.id) {
      ids.push_back(*part.id);
    } else {
      encode_part(std::string_view(clean).substr(part.begin, part.end - part.begin), part.begin == 0, ids);
    }
  }
  if (special) ids.insert(ids.end(), parts_->after.begin(), parts_->after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  DecodeStream stream(*this, skip_special);
  std::string text;
  for (const std::int32_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

std::int64_t Tokenizer::size() const { return static_cast<std::int64_t>(parts_->pieces.size()); }
std::optional<int> Tokenizer::bos() const { return parts_->bos; }
std::optional<int> Tokenizer::eos() const { return parts_->eos; }
std::optional<int> Tokenizer::pad() const { return parts_->pad; }
std::optional<std::int32_t> Tokenizer::id(std::string_view piece) const { return parts_->find(piece); }

bool Tokenizer::is_special(std::int32_t id) const {
  return known(*parts_, id) && parts_->special[static_cast<std::size_t>(id)];
}

const std::string& Tokenizer::piece(std::int32_t id) const {
  static const std::string none;
  return known(*parts_, id) ? parts_->pieces[static_cast<std::size_t>(id)] : none;
}

std::string Tokenizer::bytes(std::int32_t id) const {
  if (!known(*parts_, id) || is_special(id)) return "";
  std::string token = piece(id);
  for (const DecodeStageFactory& make : parts_->decoders) token = make()->bytes(id, std::move(token));
  return token;
}

DecodeStream::DecodeStream(const Tokenizer& tokenizer, bool skip_special)
    : parts_(tokenizer.parts_.get()), skip_special_(skip_special) {
  for (const DecodeStageFactory& make : parts_->decoders) stages_.push_back(make());
}
DecodeStream::~DecodeStream() = default;

// Sends tokens through the stages from `from` on.
std::string DecodeStream::run(std::size_t from, std::vector<std::string> tokens, std::int32_t id, bool finish) {
  for (std::size_t i = from; i < stages_.size(); ++i) {
    std::vector<std::string> out;
    for (std::string& token : tokens) stages_[i]->push(id, std::move(token), out);
    if (finish) stages_[i]->finish(out);
    tokens = std::move(out);
  }
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

std::string DecodeStream::push(std::int32_t id) {
  if (!known(*parts_, id)) return "";
  const auto at = static_cast<std::size_t>(id);
  if (parts_->pieces[at].empty() || (skip_special_ && parts_->special[at])) return "";
  return run(0, {parts_->pieces[at]}, id, false);
}

std::string DecodeStream::finish() { return run(0, {}, -1, true); }

}  // namespace sinter
