#include "models/tokenizer_extend.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

Json read_object(const fs::path& file) {
  if (!fs::exists(file)) return Json::object();
  Json json = read_json(file);
  require(json.is_object(), ErrorCode::input, file.string(), "expected an object");
  return json;
}

Json properties(const std::string& name) {
  return {{"content", name}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false},  {"special", true}};
}

// "added_tokens": [{"id": 32000, "content": "<sp_0>", ...}]
void add_to_list(const fs::path& file, std::int32_t id, const std::vector<std::string>& names) {
  Json json = read_object(file);
  Json& list = json["added_tokens"];
  if (list.is_null()) list = Json::array();
  require(list.is_array(), ErrorCode::input, file.string(), "field added_tokens: expected a list");
  for (const auto& name : names) {
    Json entry{{"id", id++}};
    entry.update(properties(name));
    list.push_back(std::move(entry));
  }
  write_text_atomic(file, json_text(json));
}

// "added_tokens_decoder": {"32000": {"content": "<sp_0>", ...}}
void add_to_decoder(const fs::path& file, std::int32_t id, const std::vector<std::string>& names) {
  Json json = read_object(file);
  Json& table = json["added_tokens_decoder"];
  if (table.is_null()) table = Json::object();
  require(table.is_object(), ErrorCode::input, file.string(), "field added_tokens_decoder: expected an object");
  for (const auto& name : names) table[std::to_string(id++)] = properties(name);
  write_text_atomic(file, json_text(json));
}

// {"<sp_0>": 32000}
void add_to_ids(const fs::path& file, std::int32_t id, const std::vector<std::string>& names) {
  Json json = read_object(file);
  for (const auto& name : names) json[name] = id++;
  write_text_atomic(file, json_text(json));
}

}  // namespace

void add_special_tokens(const fs::path& dir, std::int32_t first, const std::vector<std::string>& names) {
  if (fs::exists(dir / "tokenizer.json")) add_to_list(dir / "tokenizer.json", first, names);
  else add_to_ids(dir / "added_tokens.json", first, names);
  add_to_decoder(dir / "tokenizer_config.json", first, names);
}

}  // namespace sinter
