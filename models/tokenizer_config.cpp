#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "models/tokenizer_parts.h"

// The small files beside a tokenizer: which tokens are special, and what is put around a text.
namespace sinter {
namespace {

// A token is written as its text or as {"content": text, "lstrip": ...}; an empty one is as good as none.
std::optional<std::string> token_name(const JsonFields& fields, std::string_view key) {
  const Json* value = fields.find(key);
  if (!value) return std::nullopt;
  const std::string text = value->is_object() ? fields.object(key).text("content") : fields.text(key);
  if (text.empty()) return std::nullopt;
  return text;
}

void read_names(const JsonFields& fields, TokenizerConfig& config) {
  const auto fill = [&](std::optional<std::string>& name, std::string_view key) {
    if (!name) name = token_name(fields, key);
  };
  fill(config.bos, "bos_token");
  fill(config.eos, "eos_token");
  fill(config.unk, "unk_token");
  fill(config.pad, "pad_token");
  const Json* more = fields.find("additional_special_tokens");
  if (!more) return;
  if (!more->is_array()) fields.refuse("additional_special_tokens", "a list");
  for (const Json& entry : *more) {
    const Json* text = entry.is_object() ? JsonFields("additional_special_tokens", entry).find("content") : &entry;
    if (!text || !text->is_string()) fields.refuse("additional_special_tokens", "a list of texts");
    config.additional.push_back(text->get<std::string>());
  }
}

void read_added_decoder(const JsonFields& fields, const std::string& where, TokenizerConfig& config) {
  const Json* table = fields.find("added_tokens_decoder");
  if (!table) return;
  if (!table->is_object()) fields.refuse("added_tokens_decoder", "an object");
  for (const auto& [key, value] : table->items()) {
    const std::string at = where + ": added_tokens_decoder[" + key + "]";
    const JsonFields entry(at, value);
    AddedToken token;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
    require(error == std::errc() && end == key.data() + key.size() && token.id >= 0, ErrorCode::input, at,
            "the key is not an id");
    token.content = entry.text("content");
    token.single_word = entry.boolean_or("single_word", false);
    token.lstrip = entry.boolean_or("lstrip", false);
    token.rstrip = entry.boolean_or("rstrip", false);
    token.special = entry.boolean_or("special", false);
    config.added.push_back(std::move(token));
  }
}

void read_added_tokens(const std::filesystem::path& file, TokenizerConfig& config) {
  const Json json = read_json(file);
  const std::string where = file.string();
  require(json.is_object(), ErrorCode::input, where, "expected an object of tokens and ids");
  for (const auto& [content, id] : json.items()) {
    require(id.is_number_integer(), ErrorCode::input, where, "field ", content, ": expected an id");
    AddedToken token;
    token.content = content;
    token.id = static_cast<std::int32_t>(std::clamp<std::int64_t>(id.get<std::int64_t>(), -1, INT32_MAX));
    const bool listed = std::any_of(config.added.begin(), config.added.end(),
                                    [&](const AddedToken& a) { return a.content == token.content; });
    if (!listed) config.added.push_back(std::move(token));
  }
}

std::optional<bool> flag(const JsonFields& fields, std::string_view key) {
  if (!fields.has(key)) return std::nullopt;
  return fields.boolean(key);
}

// An id is put first (last) or taken away there; what else surrounds the text stays.
void surround(std::vector<std::int32_t>& around, bool front, std::optional<int> id, std::optional<bool> wanted,
              const std::string& where) {
  if (!wanted) return;
  const std::string_view name = front ? "bos" : "eos";
  require(!*wanted || id.has_value(), ErrorCode::input, where, "add_", name, "_token is true, but no ", name,
          "_token is known");
  if (!id) return;
  const auto at = std::find(around.begin(), around.end(), *id);
  if (*wanted && at == around.end()) around.insert(front ? around.begin() : around.end(), *id);
  if (!*wanted && at != around.end()) around.erase(at);
}

}  // namespace

TokenizerConfig parse_tokenizer_config(const Json& json, const std::string& where) {
  TokenizerConfig config;
  config.where = where;
  const JsonFields fields(where, json);
  read_names(fields, config);
  config.add_bos = flag(fields, "add_bos_token");
  config.add_eos = flag(fields, "add_eos_token");
  config.legacy = flag(fields, "legacy");
  config.add_prefix_space = flag(fields, "add_prefix_space");
  read_added_decoder(fields, where, config);
  return config;
}

TokenizerConfig read_tokenizer_config(const std::filesystem::path& directory) {
  std::error_code ignored;
  const auto file = directory / "tokenizer_config.json";
  const bool there = std::filesystem::exists(file, ignored);
  TokenizerConfig config = parse_tokenizer_config(there ? read_json(file) : Json::object(), file.string());
  if (const auto map = directory / "special_tokens_map.json"; std::filesystem::exists(map, ignored)) {
    const Json json = read_json(map);
    read_names(JsonFields(map.string(), json), config);
  }
  if (const auto added = directory / "added_tokens.json"; std::filesystem::exists(added, ignored)) {
    read_added_tokens(added, config);
  }
  return config;
}

void apply_config(TokenizerParts& parts, const TokenizerConfig& config) {
  for (AddedToken token : config.added) {
    if (parts.added_ids.contains(token.content)) continue;
    if (const auto id = parts.find(token.content)) token.id = *id;
    parts.add_token(token, config.where);
  }
  const auto resolve = [&](std::optional<int>& id, const std::optional<std::string>& name) {
    if (!name) return;
    if (const auto found = parts.find(*name)) id = found;
  };
  resolve(parts.bos, config.bos);
  resolve(parts.eos, config.eos);
  resolve(parts.unk, config.unk);
  resolve(parts.pad, config.pad);

  const auto add_special = [&](std::optional<int> id, bool hidden) {
    if (!id) return;
    const auto at = static_cast<std::size_t>(*id);
    parts.special[at] = parts.special[at] || hidden;
    if (parts.added_ids.contains(parts.pieces[at])) return;
    AddedToken token;
    token.id = *id;
    token.content = parts.pieces[at];
    token.special = hidden;
    parts.add_token(token, config.where);
  };
  for (const auto& id : {parts.bos, parts.eos, parts.pad}) add_special(id, true);
  add_special(parts.unk, false);  // an unknown token still shows in decoded text
  for (const std::string& name : config.additional) add_special(parts.find(name), true);

  surround(parts.before, true, parts.bos, config.add_bos ? config.add_bos : parts.add_bos, config.where);
  surround(parts.after, false, parts.eos, config.add_eos ? config.add_eos : parts.add_eos, config.where);
}

}  // namespace sinter
