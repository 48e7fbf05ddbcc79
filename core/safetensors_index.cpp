#include "core/safetensors_index.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"

namespace sinter {

std::map<std::string, std::string> parse_shard_index(std::string_view text, std::string_view where) {
  const Json index = parse_json(text, where);
  const JsonFields fields(where, index);
  const JsonFields entries = fields.object("weight_map");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, file] : fields.at("weight_map").items()) {
    if (!file.is_string()) entries.refuse(tensor, "the name of a shard");
    const auto& name = file.get_ref<const std::string&>();
    const bool inside =
        !name.empty() && name.find('/') == name.npos && name.find("..") == name.npos && name.find('\0') == name.npos;
    if (!inside) entries.refuse(tensor, "a file name without '/' and \"..\"");
    shards.emplace(tensor, name);
  }
  require(!shards.empty(), ErrorCode::input, where, "weight_map is empty");
  return shards;
}

}  // namespace sinter
