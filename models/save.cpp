// Writing a model: every tensor under its Hugging Face name, linears in a format of ours as "<linear>.<part>".
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "models/block_file.h"
#include "models/interchange/gguf.h"
#include "models/packed.h"
#include "models/tensor_store.h"
#include "models/weights/formats.h"

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

void collect_block(Collector& c, Block& b) {
  b.each_weight([&](const std::string& name, Weight& w) { c.weight(name, w); });
  for (const auto& stage : b.stages())
    for (Linear* l : stage) collect_linear(c, *l);
}

// All that belongs to no block.
void collect_ends(Collector& c, CausalLM& model) {
  const ModelEnds& ends = model.ends();
  model.each_matrix([&](const std::string& name, Matrix& m) { c.matrix(name.substr(0, name.size() - 7), m); });
  model.each_projection([&](Linear& l) { collect_linear(c, l); });
  if (ends.positions) c.weight(ends.positions_name + ".weight", *ends.positions);
  if (!ends.norm) return;
  c.weight(ends.norm->name + ".weight", ends.norm->weight);
  if (ends.norm->bias) c.weight(ends.norm->name + ".bias", *ends.norm->bias);
}

std::vector<Outgoing> collect(CausalLM& model, const SaveOptions& options) {
  Collector c(options);
  collect_ends(c, model);
  for (const auto& b : model.blocks()) collect_block(c, *b);
  return c.take();
}

void write(const Outgoing& o, const fs::path& file) { write_tensors(file, o.tensors, o.metadata()); }

void write_index(const fs::path& dir, int shards) {
  Json map = Json::object();
  std::uint64_t total = 0;
  for (int i = 0; i < shards; ++i) {
    const TensorFile shard(dir / shard_name(i, shards));
    for (const auto& name : shard.names()) {
      map[name] = shard_name(i, shards).string();
      total += shard.tensor(name).bytes();
    }
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

fs::path shard_name(int shard, int shards) {
  char file[64];
  std::snprintf(file, sizeof file, "model-%05d-of-%05d.safetensors", shard + 1, shards);
  return file;
}

void save_weights(CausalLM& model, const fs::path& dir, const SaveOptions& options) {
  const std::vector<Outgoing> shards = collect(model, options);
  if (shards.size() == 1) return write(shards[0], dir / "model.safetensors");
  const int count = int(shards.size());
  for (int i = 0; i < count; ++i) write(shards[std::size_t(i)], dir / shard_name(i, count));
  write_index(dir, count);
}

void save_block(CausalLM& model, int block, const fs::path& file, const SaveOptions& options) {
  Collector c({options.params, options.source, UINT64_MAX});
  collect_block(c, model.block(block));
  write(c.take()[0], file);
}

void assemble_model(CausalLM& model, const fs::path& dir, const SaveOptions& options,
                    const std::function<fs::path(int)>& block_file) {
  if (const auto whole = collect(model, options); whole.size() == 1) return write(whole[0], dir / "model.safetensors");
  const int blocks = model.all().last, count = blocks + 1;
  Collector ends({options.params, options.source, UINT64_MAX});
  collect_ends(ends, model);
  write(ends.take()[0], dir / shard_name(0, count));
  for (int b = 0; b < blocks; ++b) {
    const fs::path from = block_file(b), to = dir / shard_name(b + 1, count);
    std::error_code error;
    if (fs::exists(from)) fs::rename(from, to, error);
    else if (!fs::exists(to)) save_block(model, b, to, options);
    require(!error, ErrorCode::io, to.string(), "cannot be created: ", error.message());
  }
  write_index(dir, count);
}

void map_block(CausalLM& model, int block, const fs::path& file) {
  const auto store = open_safetensors(file);
  for (const auto& stage : model.block(block).stages())
    for (Linear* l : stage) {
      const auto packed = store->packed(l->name());
      l->replace(packed ? load_packed(*packed, l->name()) : freeze_dense(store->tensor(l->name() + ".weight")));
    }
  release_block(model, block);
}

void release_pages(const FrozenWeight& w) {
  for (const auto& [name, part] : w.pack().parts) part.release_pages();
}

void release_block(CausalLM& model, int block) {
  for (const auto& stage : model.block(block).stages())
    for (const Linear* l : stage)
      if (const auto* w = std::get_if<FrozenWeightPtr>(&l->weight())) release_pages(**w);
}

void release_ends(CausalLM& model) {
  model.each_matrix([](const std::string&, Matrix& m) {
    if (const auto* w = std::get_if<FrozenWeightPtr>(&m)) release_pages(**w);
  });
}

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  for (const char* name : {"tokenizer.model", "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json",
                           "special_tokens_map.json", "added_tokens.json"})
    if (fs::exists(from / name)) write_text_atomic(to / name, read_text(from / name));
  if (!is_gguf(from)) return;
  const GgufTokenizer tokenizer = gguf_tokenizer(from);
  write_text_atomic(to / tokenizer.file, tokenizer.content);
  write_text_atomic(to / "tokenizer_config.json", tokenizer.config);
}

void copy_model_files(const fs::path& from, const fs::path& to, const Json& config_changes) {
  copy_tokenizer(from, to);
  for (const char* name : {"generation_config.json", "chat_template.jinja", "prompt_prefix.txt"})
    if (fs::exists(from / name)) write_text_atomic(to / name, read_text(from / name));
  Json config = read_config_json(from);
  for (const auto& [key, value] : config_changes.items())
    if (value.is_null()) config.erase(key);
    else config[key] = value;
  write_text_atomic(to / "config.json", json_text(config));
}

}  // namespace sinter
