#include "models/weights/parts.h"

#include <algorithm>

namespace sinter {

void check_names(const Packed& p, std::initializer_list<std::string_view> fields,
                 std::initializer_list<std::string_view> parts, std::string_view where) {
  for (const auto& [name, value] : p.fields)
    require(std::ranges::count(fields, name) == 1, ErrorCode::input, where, "unknown field \"", name, "\"");
  for (const auto& [name, tensor] : p.parts)
    require(std::ranges::count(parts, name) == 1, ErrorCode::input, where, "unknown tensor \"", name, "\"");
}

std::int64_t field_of(const Packed& p, const std::string& name, std::string_view where) {
  const auto it = p.fields.find(name);
  require(it != p.fields.end(), ErrorCode::input, where, "field \"", name, "\" is missing");
  return it->second;
}

Tensor part_of(const Packed& p, const std::string& name) {
  const auto it = p.parts.find(name);
  return it == p.parts.end() ? Tensor() : it->second;
}

}  // namespace sinter
