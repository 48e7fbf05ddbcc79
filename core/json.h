#pragma once
#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sinter {

// nlohmann-json with the order of keys kept, so that a file is rewritten with its unknown keys as they were.
// Looking up a key is linear: iterate over a large object (a vocabulary) instead. Only .cpp files include json.hpp.
using Json = nlohmann::ordered_json;

// One JSON value and nothing after it. Error{input} naming `where` and the position: not JSON, not UTF-8, a key twice
// in one object, nesting deeper than 64.
Json parse_json(std::string_view text, std::string_view where);
Json read_json(const std::filesystem::path& path);

// Indented, ending with a newline; bytes that are not UTF-8 become U+FFFD.
std::string json_text(const Json& value);

// Typed access to an object's fields: "config.json: field hidden_size: expected a positive integer, found "x"".
// All errors are Error{input}. null counts as absent. Borrows the Json.
class JsonFields {
 public:
  static constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
  static constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

  JsonFields(std::string_view where, const Json& object);  // where: the file, for messages

  bool has(std::string_view key) const { return find(key) != nullptr; }
  const Json* find(std::string_view key) const;  // null when absent or null
  const Json& at(std::string_view key) const;  // any type, but present
  // Without `fallback` the field must be present.
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max = kMax) const;
  std::int64_t integer_or(std::string_view key, std::int64_t fallback, std::int64_t min, std::int64_t max = kMax) const;
  double number(std::string_view key) const;  // finite
  double number_or(std::string_view key, double fallback) const;
  bool boolean(std::string_view key) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::string text(std::string_view key) const;
  std::string text_or(std::string_view key, std::string_view fallback) const;
  std::vector<std::int64_t> integers(std::string_view key, std::int64_t min, std::int64_t max = kMax) const;  // or one
  JsonFields object(std::string_view key) const;  // the fields of a nested object, named "outer.inner"

  // Ends with "field KEY: expected EXPECTED, found VALUE".
  [[noreturn]] void refuse(std::string_view key, std::string_view expected) const;

 private:
  JsonFields(std::string where, std::string prefix, const Json& object);
  std::int64_t checked_integer(std::string_view key, const Json& value, std::int64_t min, std::int64_t max) const;
  std::string where_, prefix_;
  const Json* object_;
};

}  // namespace sinter
