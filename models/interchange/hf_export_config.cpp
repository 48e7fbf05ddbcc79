#include "models/interchange/hf_export_config.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

namespace sinter {
namespace {

// A pattern that matches one name and nothing else.
std::string pattern_of(const std::string& name) {
  std::string p = "^";
  for (const char c : name) {
    if (c == '.') p += '\\';
    p += c;
  }
  return p + "$";
}

// One group per row is also what any group size says that is not smaller than the row.
bool agrees(const GridFacts& f, int bits, std::int64_t group) {
  return f.bits == bits && (f.group == group || (f.group < 0 && f.in <= group));
}

// The bits and group size of most linears.
std::pair<int, std::int64_t> common_setting(const std::vector<GridFacts>& linears) {
  std::map<std::pair<int, std::int64_t>, int> count;
  for (const auto& f : linears)
    if (f.on_grid) ++count[{f.bits, f.group}];
  const auto most = std::ranges::max_element(count, {}, [](const auto& c) { return c.second; });
  return most->first;
}

Json weight_scheme(const GridFacts& f) {
  return {{"num_bits", f.bits},
          {"type", "int"},
          {"symmetric", f.symmetric},
          {"strategy", f.group < 0 ? "channel" : "group"},
          {"group_size", f.group < 0 ? Json(nullptr) : Json(f.group)},
          {"block_structure", nullptr},
          {"dynamic", false},
          {"actorder", nullptr},
          {"observer", "minmax"},
          {"observer_kwargs", Json::object()}};
}

}  // namespace

Json announce_gptq(const std::vector<GridFacts>& linears, int version, std::vector<std::string>& notes) {
  const auto [bits, group] = common_setting(linears);
  const bool act_order = std::ranges::any_of(linears, &GridFacts::act_order);
  const char* const format = version == 2 ? "gptq_v2" : "gptq";
  Json dynamic = Json::object();
  for (const auto& f : linears) {
    if (!f.on_grid) dynamic["-:" + pattern_of(f.name)] = Json::object();
    else if (!agrees(f, bits, group)) dynamic["+:" + pattern_of(f.name)] = {{"bits", f.bits}, {"group_size", f.group}};
  }
  Json config = {{"bits", bits},
                 {"group_size", group},
                 {"desc_act", act_order},
                 {"sym", version == 1},
                 {"static_groups", false},
                 {"lm_head", false},
                 {"quant_method", "gptq"},
                 {"checkpoint_format", format},
                 {"method", "gptq"},
                 {"format", format},
                 {"pack_dtype", "int32"},
                 {"model_name_or_path", nullptr},
                 {"model_file_base_name", "model"},
                 {"meta", {{"quantizer", {"sinter:1"}}}}};
  if (!dynamic.empty()) {
    notes.push_back(std::to_string(dynamic.size()) +
                    " linears differ from the others (field dynamic), which AutoGPTQ and transformers do not read");
    config["dynamic"] = std::move(dynamic);
  }
  if (std::ranges::any_of(linears, [](const GridFacts& f) { return f.group > 0 && f.in % f.group != 0; }))
    notes.emplace_back("rows end in a short group: GPTQModel reads that, AutoGPTQ and vLLM do not");
  if (version == 2)
    notes.emplace_back("the grids are asymmetric, hence GPTQ version 2: GPTQModel and recent vLLM read it");
  return config;
}

Json announce_compressed_tensors(const std::vector<GridFacts>& linears, const std::vector<std::string>& others,
                                 std::vector<std::string>& notes) {
  std::map<std::tuple<int, std::int64_t, bool>, std::vector<const GridFacts*>> settings;
  Json ignore = others;
  bool dense_words = false;
  for (const auto& f : linears) {
    if (!f.on_grid) ignore.push_back(f.name);
    else settings[{f.bits, f.group, f.symmetric}].push_back(&f);
    dense_words |= f.on_grid && f.bits == 3;
  }
  Json groups = Json::object();
  for (const auto& [key, members] : settings) {
    Json targets = Json::array();
    if (settings.size() == 1) targets.push_back("Linear");
    else
      for (const GridFacts* f : members) targets.push_back(f->name);
    groups["group_" + std::to_string(groups.size())] = {{"targets", targets},
                                                        {"format", "pack-quantized"},
                                                        {"input_activations", nullptr},
                                                        {"output_activations", nullptr},
                                                        {"weights", weight_scheme(*members[0])}};
  }
  if (dense_words) notes.emplace_back("3 bits are packed as compressed-tensors 0.17 and later do");
  return {{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"},
          {"quantization_status", "compressed"},  {"version", dense_words ? "0.17.0" : "0.14.0"},
          {"global_compression_ratio", nullptr},  {"ignore", ignore},
          {"kv_cache_scheme", nullptr},           {"config_groups", groups}};
}

}  // namespace sinter
