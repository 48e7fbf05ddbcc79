// Writing a model: every tensor under its Hugging Face name, linears in a format of ours as "<linear>.<part>".
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "models/checkpoint.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

struct Outgoing {
  NamedTensors tensors;
  Json packed;  // of those in a format of ours
  std::uint64_t bytes = 0;

  void add(const std::string& name, Tensor t) {
    bytes += t.bytes();
    tensors.emplace_back(name, std::move(t));
  }
  std::map<std::string, std::string> metadata() const {
    if (packed.is_null()) return {};
    return {{"sinter.weights", packed.dump()}};
  }
};

// One linear's tensors stay together, so that a shard describes what it holds.
class Collector {
 public:
  Collector(const SaveOptions& o) : options_(o), shards_(1) {}

  void matrix(const std::string& name, const Matrix& m) {  // name without ".weight"
    if (const auto* p = std::get_if<std::unique_ptr<Param>>(&m)) {
      return put({{name + ".weight", cast((*p)->value(), options_.params)}}, name, nullptr);
    }
    const Packed packed = std::get<FrozenWeightPtr>(m)->pack();
    NamedTensors parts;
    for (const auto& [part, t] : packed.parts) parts.emplace_back(name + "." + part, t);
    if (packed.tag == "dense") return put(std::move(parts), name, nullptr);
    Json fields = Json::object();
    for (const auto& [key, value] : packed.fields) fields[key] = value;
    put(std::move(parts), name, {{"tag", packed.tag}, {"version", packed.version}, {"fields", fields}});
  }
  void weight(const std::string& name, const Weight& w) {
    const bool param = std::holds_alternative<std::unique_ptr<Param>>(w);
    put({{name, param ? cast(values(w), options_.params) : cast_if_exact(values(w), options_.source)}}, name, nullptr);
  }
  std::vector<Outgoing> take() { return std::move(shards_); }

 private:
  void put(NamedTensors parts, const std::string& name, Json description) {
    std::uint64_t bytes = 0;
    for (const auto& [n, t] : parts) bytes += t.bytes();
    if (shards_.back().bytes && shards_.back().bytes + bytes > options_.shard_bytes) shards_.emplace_back();
    Outgoing& shard = shards_.back();
    for (auto& [n, t] : parts) shard.add(n, std::move(t));
    if (!description.is_null()) shard.packed[name] = std::move(description);
  }
  SaveOptions options_;
  std::vector<Outgoing> shards_;
};

void collect_linear(Collector& c, Linear& l) {
  c.matrix(l.name(), l.weight());
  if (l.bias()) c.weight(l.name() + ".bias", *l.bias());
}

void write_shards(const std::vector<Outgoing>& shards, const fs::path& dir) {
  if (shards.size() == 1) return write_tensors(dir / "model.safetensors", shards[0].tensors, shards[0].metadata());
  Json map = Json::object();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    char file[64];
    std::snprintf(file, sizeof file, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    write_tensors(dir / file, shards[i].tensors, shards[i].metadata());
    for (const auto& [name, t] : shards[i].tensors) map[name] = file;
    total += shards[i].bytes;
  }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  write_text_atomic(dir / "model.safetensors.index.json", json_text(index));
}

}  // namespace

DType source_dtype(const CausalLM& model) {
  const auto* w = std::get_if<FrozenWeightPtr>(&model.ends().embedding);
  if (!w) return DType::f32;
  const Packed p = (*w)->pack();
  return p.tag == "dense" ? p.parts.at("weight").dtype() : DType::f32;
}

void save_weights(CausalLM& model, const fs::path& dir, const SaveOptions& options) {
  Collector c(options);
  model.each_matrix([&](const std::string& name, Matrix& m) { c.matrix(name.substr(0, name.size() - 7), m); });
  model.each_projection([&](Linear& l) { collect_linear(c, l); });
  model.each_weight([&](const std::string& name, Weight& w) { c.weight(name, w); });
  model.each_linear([&](Linear& l) { collect_linear(c, l); });
  write_shards(c.take(), dir);
}

void copy_model_files(const fs::path& from, const fs::path& to, const Json& config_changes) {
  for (const char* name :
       {"tokenizer.model", "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json",
        "special_tokens_map.json", "added_tokens.json", "generation_config.json", "chat_template.jinja"})
    if (fs::exists(from / name)) write_text_atomic(to / name, read_text(from / name));
  Json config = read_json(from / "config.json");
  for (const auto& [key, value] : config_changes.items()) config[key] = value;
  write_text_atomic(to / "config.json", json_text(config));
}

}  // namespace sinter
