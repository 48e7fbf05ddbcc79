#include "core/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"

namespace sinter {

namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxFile = std::size_t{1} << 28;  // a tokenizer.json of 250,000 words is 40 MB

// Fit for one line of a message.
std::string shortened(std::string text) {
  constexpr std::size_t kMost = 120;
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = '?';
  }
  return text;
}

std::string shown(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list of " + std::to_string(value.size());
  return shortened(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

// Builds the value from parser events. Objects grow by push_back and are checked for a repeated key once, when they are
// complete: inserting key by key is quadratic in an ordered object, and a vocabulary has 100,000 keys.
class Builder {
 public:
  Builder(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  bool null() { return add(nullptr); }
  bool boolean(bool v) { return add(v); }
  bool number_integer(Json::number_integer_t v) { return add(v); }
  bool number_unsigned(Json::number_unsigned_t v) { return add(v); }
  bool number_float(Json::number_float_t v, const std::string&) { return add(v); }
  bool string(std::string& v) { return add(std::move(v)); }
  bool binary(Json::binary_t&) { return false; }
  bool key(std::string& k) {
    key_ = std::move(k);
    return true;
  }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_array() {
    stack_.pop_back();
    return true;
  }
  bool end_object() {
    std::vector<std::string_view> keys;
    for (const auto& [key, value] : stack_.back()->get_ref<const Json::object_t&>()) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end())
      fail(ErrorCode::input, where_, "key \"", shortened(std::string(*twice)), "\" occurs twice");
    stack_.pop_back();
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) {
    const std::string_view before = text_.substr(0, position > 0 ? position - 1 : 0);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t column = before.size() - (before.rfind('\n') + 1) + 1;
    std::string_view reason = error.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: REASON; last read: ..."
    if (const auto colon = reason.find(": "); colon != reason.npos) reason = reason.substr(colon + 2);
    reason = reason.substr(0, reason.find("; last read"));
    fail(ErrorCode::input, where_, "line ", line, ", column ", column, ": not valid JSON: ", reason.substr(0, 160));
  }
  Json take() { return std::move(root_); }

 private:
  template <class T>
  bool add(T&& value) {
    place(Json(std::forward<T>(value)));
    return true;
  }
  bool open(Json container) {
    require(stack_.size() < kMaxDepth, ErrorCode::input, where_, "nested deeper than ", kMaxDepth, " levels");
    stack_.push_back(place(std::move(container)));
    return true;
  }
  // Elements of a container under construction move when it grows, but only the innermost one grows.
  Json* place(Json value) {
    if (stack_.empty()) return &(root_ = std::move(value));
    Json& parent = *stack_.back();
    if (parent.is_array()) return &parent.get_ref<Json::array_t&>().emplace_back(std::move(value));
    auto& pairs = static_cast<Json::object_t::Container&>(parent.get_ref<Json::object_t&>());
    return &pairs.emplace_back(std::move(key_), std::move(value)).second;
  }

  std::string_view text_, where_;
  Json root_;
  std::vector<Json*> stack_;
  std::string key_;
};

const Json* lookup(const Json& object, std::string_view key) {
  for (const auto& [name, value] : object.get_ref<const Json::object_t&>()) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string range_text(std::int64_t min, std::int64_t max) {
  if (max != JsonFields::kMax) return "an integer from " + std::to_string(min) + " to " + std::to_string(max);
  if (min == 0) return "a non-negative integer";
  if (min == 1) return "a positive integer";
  return min == JsonFields::kMin ? "an integer" : "an integer of at least " + std::to_string(min);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  Builder builder(text, where);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_text(path, kMaxFile), path.native()); }

std::string json_text(const Json& value) { return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

JsonFields::JsonFields(std::string_view where, const Json& object) : JsonFields(std::string(where), "", object) {}

JsonFields::JsonFields(std::string where, std::string prefix, const Json& object)
    : where_(std::move(where)), prefix_(std::move(prefix)), object_(&object) {
  require(object.is_object(), ErrorCode::input, where_, "expected a JSON object, found ", shown(object));
}

const Json* JsonFields::find(std::string_view key) const {
  const Json* value = lookup(*object_, key);
  return value && value->is_null() ? nullptr : value;
}

const Json& JsonFields::at(std::string_view key) const {
  const Json* value = find(key);
  require(value != nullptr, ErrorCode::input, where_, "field ", prefix_, key, ": missing");
  return *value;
}

void JsonFields::refuse(std::string_view key, std::string_view expected) const {
  const Json* value = lookup(*object_, key);
  fail(ErrorCode::input, where_, "field ", shortened(prefix_ + std::string(key)), ": expected ", expected, ", found ",
       value ? shown(*value) : "nothing");
}

std::int64_t JsonFields::checked_integer(std::string_view key, const Json& value, std::int64_t min,
                                         std::int64_t max) const {
  const bool fits =
      value.is_number_unsigned() ? value.get<std::uint64_t>() <= std::uint64_t(kMax) : value.is_number_integer();
  const std::int64_t v = fits ? value.get<std::int64_t>() : 0;
  if (!fits || v < min || v > max) {
    fail(ErrorCode::input, where_, "field ", prefix_, key, ": expected ", range_text(min, max), ", found ",
         shown(value));
  }
  return v;
}

std::int64_t JsonFields::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  return checked_integer(key, at(key), min, max);
}

std::int64_t JsonFields::integer_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                                    std::int64_t max) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double JsonFields::number(std::string_view key) const {
  const Json& value = at(key);
  if (!value.is_number() || !std::isfinite(value.get<double>())) refuse(key, "a number");
  return value.get<double>();
}

double JsonFields::number_or(std::string_view key, double fallback) const { return has(key) ? number(key) : fallback; }

bool JsonFields::boolean(std::string_view key) const {
  const Json& value = at(key);
  if (!value.is_boolean()) refuse(key, "true or false");
  return value.get<bool>();
}

bool JsonFields::boolean_or(std::string_view key, bool fallback) const { return has(key) ? boolean(key) : fallback; }

std::string JsonFields::text(std::string_view key) const {
  const Json& value = at(key);
  if (!value.is_string()) refuse(key, "a string");
  return value.get<std::string>();
}

std::string JsonFields::text_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? text(key) : std::string(fallback);
}

std::vector<std::int64_t> JsonFields::integers(std::string_view key, std::int64_t min, std::int64_t max) const {
  const Json& value = at(key);
  if (!value.is_array()) return {checked_integer(key, value, min, max)};
  std::vector<std::int64_t> out;
  for (const Json& element : value) out.push_back(checked_integer(key, element, min, max));
  return out;
}

JsonFields JsonFields::object(std::string_view key) const {
  const Json& value = at(key);
  if (!value.is_object()) refuse(key, "an object");
  return JsonFields(where_, prefix_ + std::string(key) + ".", value);
}

}  // namespace sinter
