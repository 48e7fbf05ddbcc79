#include "models/interchange/compressed_tensors_config.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace sinter {
namespace {

void check_format(const JsonFields& f, std::string_view key) {
  const std::string format = f.text_or(key, "dense");
  for (const char* readable : {"pack-quantized", "int-quantized", "naive-quantized", "mixed-precision", "dense"})
    if (format == readable) return;
  f.refuse(key, "pack-quantized, int-quantized, naive-quantized or dense: only integer weights can be read");
}

WeightScheme read_scheme(const JsonFields& w) {
  WeightScheme s;
  if (w.text_or("type", "int") != "int") w.refuse("type", "int");
  s.bits = int(w.integer("num_bits", 0, 64));
  if (s.bits < 1 || s.bits > 8) w.refuse("num_bits", "1 to 8");
  const std::string strategy = w.text_or("strategy", w.has("group_size") ? "group" : "tensor");
  if (strategy == "group") s.group = w.integer("group_size", -1, 1 << 24);
  else if (strategy == "tensor") s.per_tensor = true;
  else if (strategy != "channel") w.refuse("strategy", "group, channel or tensor");
  if (s.group == 0) w.refuse("group_size", "a positive number");
  return s;
}

bool before_0_17(const std::string& version) {
  int major = 0, minor = 0;
  return std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2 && major == 0 && minor < 17;
}

bool says_something(const Json* value) { return value && !value->empty(); }

}  // namespace

CompressedTensorsConfig::CompressedTensorsConfig(const Json& config, const std::string& where,
                                                 std::vector<std::string>& warnings)
    : where_(where) {
  const JsonFields f(where, config);
  check_format(f, "format");
  if (f.text_or("quantization_status", "compressed") != "compressed")
    f.refuse("quantization_status", "compressed: save the model compressed");
  if (const Json* t = f.find("transform_config");
      says_something(t) && says_something(f.object("transform_config").find("config_groups")))
    f.refuse("transform_config", "nothing: transforms of activations are not supported");
  if (says_something(f.find("kv_cache_scheme")))
    warnings.push_back(where + ": field kv_cache_scheme is passed over; keys and values stay as they are computed");
  if (f.has("sparsity_config")) {
    const JsonFields sparsity = f.object("sparsity_config");
    const std::string format = sparsity.text_or("format", "dense");
    if (format != "dense" && format != "sparse-24-bitmask" && format != "sparse-bitmask")
      sparsity.refuse("format", "dense, sparse-24-bitmask or sparse-bitmask");
  }
  if (before_0_17(f.text_or("version", "1.0"))) layout_ = WordLayout::whole;
  if (!f.has("config_groups")) return;
  const JsonFields groups = f.object("config_groups");
  for (const auto& [name, group] : f.at("config_groups").items()) read_group(groups.object(name), where, warnings);
}

void CompressedTensorsConfig::read_group(const JsonFields& group, const std::string& where,
                                         std::vector<std::string>& warnings) {
  check_format(group, "format");
  if (says_something(group.find("input_activations")) && warnings.empty())
    warnings.push_back(where + ": the model rounds its activations where it was made for; here they stay exact");
  if (!group.has("weights")) return;
  schemes_.push_back(read_scheme(group.object("weights")));
  const Json& targets = group.at("targets");
  if (!targets.is_array()) group.refuse("targets", "a list of names");
  for (const Json& t : targets) {
    if (!t.is_string()) group.refuse("targets", "a list of names");
    const auto text = t.get<std::string>();
    Target target{By::name, text, {}, schemes_.size() - 1};
    if (text == "Linear") target.by = By::module;
    if (text.starts_with("re:")) {
      target.by = By::pattern;
      target.pattern.emplace("^(?:" + text.substr(3) + ")", where + ": field targets");
    }
    targets_.push_back(std::move(target));
  }
}

const WeightScheme& CompressedTensorsConfig::scheme_of(const std::string& linear) const {
  for (const By by : {By::name, By::pattern, By::module})
    for (const Target& t : targets_) {
      if (t.by != by) continue;
      if (by == By::name && t.name != linear) continue;
      if (by == By::pattern && !std::ranges::any_of(t.pattern->spans(linear), &TextSpan::match)) continue;
      return schemes_[t.scheme];
    }
  fail(ErrorCode::input, where_, "field config_groups: no targets name ", linear, ", which is stored quantised");
}

}  // namespace sinter
