#pragma once
#include <charconv>
#include <map>
#include <string>

#include "core/error.h"

namespace sinter {

// How a user writes the setting of that key: "--group-size"; "--set key" where it has no flag of its own.
std::string flag_of(const std::string& key);

// key=value settings of a method, read once into typed fields; a key that nobody read is an error.
class MethodOptions {
 public:
  MethodOptions() = default;
  MethodOptions(std::initializer_list<std::pair<const std::string, std::string>> kv) : kv_(kv) {}
  bool has(const std::string& key) const { return kv_.contains(key); }
  void set(const std::string& key, std::string value) { kv_[key] = std::move(value); }

  double number(const std::string& key, double fallback) { return read(key, fallback, "a number"); }
  std::int64_t integer(const std::string& key, std::int64_t fallback) { return read(key, fallback, "a whole number"); }
  bool flag(const std::string& key) {
    const std::int64_t v = read<std::int64_t>(key, 0, "0 or 1");
    require(v == 0 || v == 1, ErrorCode::usage, flag_of(key), v, " is not 0 or 1");
    return v == 1;
  }
  std::string word(const std::string& key, std::string fallback) {
    const auto it = kv_.find(key);
    if (it == kv_.end()) return fallback;
    std::string text = std::move(it->second);
    kv_.erase(it);
    return text;
  }
  void finish(std::string_view method) const {
    if (!kv_.empty()) fail(ErrorCode::usage, method, "does not take ", flag_of(kv_.begin()->first));
  }

 private:
  template <class T>
  T read(const std::string& key, T fallback, std::string_view what) {
    const auto it = kv_.find(key);
    if (it == kv_.end()) return fallback;
    const std::string text = it->second;
    T v{};
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), v);
    require(ec == std::errc() && end == text.data() + text.size(), ErrorCode::usage, flag_of(key), text, " is not ",
            what);
    kv_.erase(it);
    return v;
  }
  std::map<std::string, std::string> kv_;
};

}  // namespace sinter
