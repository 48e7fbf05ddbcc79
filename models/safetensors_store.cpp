#include <nlohmann/json.hpp>

#include "core/json.h"
#include "core/tensor_file.h"
#include "models/tensor_store.h"

namespace sinter {
namespace {

constexpr const char* kPackedKey = "sinter.weights";  // in the metadata; docs/formats.md

class SafetensorsStore final : public TensorStore {
 public:
  explicit SafetensorsStore(const std::filesystem::path& path) : path_(path.string()), file_(path) {
    const auto it = file_.metadata().find(kPackedKey);
    if (it == file_.metadata().end()) return;
    packed_ = parse_json(it->second, path_ + ": metadata " + kPackedKey);
    require(packed_.is_object(), ErrorCode::input, path_, "metadata ", kPackedKey, " is not an object");
  }
  std::vector<std::string> names() const override { return file_.names(); }
  bool has(const std::string& name) const override { return file_.has(name); }
  Tensor tensor(const std::string& name) const override { return file_.tensor(name); }
  std::optional<Packed> packed(const std::string& linear) const override;

 private:
  std::string path_;
  TensorFile file_;
  Json packed_;  // {"<linear>": {"tag", "version", "fields"}}, or null
};

std::optional<Packed> SafetensorsStore::packed(const std::string& linear) const {
  if (packed_.is_null()) return std::nullopt;
  const auto it = packed_.find(linear);
  if (it == packed_.end()) return std::nullopt;
  const JsonFields f(path_ + ": metadata " + kPackedKey + ": " + linear, *it);
  Packed p{f.text("tag"), int(f.integer("version", 1, 1 << 16)), {}, {}};
  const JsonFields fields = f.object("fields");
  for (const auto& [key, value] : f.at("fields").items()) p.fields[key] = fields.integer(key, JsonFields::kMin);
  const std::string prefix = linear + ".";
  for (const auto& name : file_.names())
    if (name.starts_with(prefix) && name != prefix + "bias") p.parts[name.substr(prefix.size())] = file_.tensor(name);
  return p;
}

}  // namespace

std::unique_ptr<TensorStore> open_safetensors(const std::filesystem::path& path) {
  return std::make_unique<SafetensorsStore>(path);
}

}  // namespace sinter
