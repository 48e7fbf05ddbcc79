// pytorch_model.bin: what torch.save has written since PyTorch 1.6, a ZIP archive with a pickle (data.pkl) that
// describes tensors, and the bytes of each storage (data/<key>), little-endian. Nothing of the file is ever run.
#include <map>

#include "core/file.h"
#include "models/interchange/bin_tensor.h"
#include "models/tensor_store.h"
#include "models/unicode.h"

namespace sinter {
namespace {

using Kind = PickleValue::Kind;

class BinStore final : public TensorStore {
 public:
  explicit BinStore(const std::filesystem::path& path);

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, view] : views_) names.push_back(name);
    return names;
  }
  bool has(const std::string& name) const override { return views_.contains(name); }
  Tensor tensor(const std::string& name) const override {
    const auto it = views_.find(name);
    require(it != views_.end(), ErrorCode::input, path_, "tensor ", name, " is missing");
    return torch_tensor(it->second, file_, path_ + ": tensor " + name);
  }
  std::optional<Packed> packed(const std::string&) const override { return std::nullopt; }
  std::string note() const override;

 private:
  const PickleValue& tensors_of(const PickleValue& root);
  void read(const PickleValue& dict, const ZipArchive& zip, const std::string& prefix);
  std::string name_of(const PickleValue& key) const;
  void skip(const std::string& name);

  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, TorchView> views_;
  std::string skipped_;  // the first names of what is no tensor
  std::size_t skipped_count_ = 0;
};

void refuse_legacy(std::string_view content, const std::string& path) {
  constexpr std::string_view kMagic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14);
  require(!content.starts_with(kMagic), ErrorCode::input, path,
          "has the format of PyTorch before 1.6, which is not read; write it anew with a newer PyTorch: "
          "torch.save(torch.load(file), file)");
}

// Members are <root>/data.pkl, <root>/data/0, ..; the root is any name.
std::string root_of(const ZipArchive& zip, const std::string& path) {
  std::string root;
  for (const auto& m : zip.members()) {
    const std::size_t slash = m.name.find('/');
    if (slash == m.name.npos || m.name.substr(slash) != "/data.pkl") continue;
    require(root.empty(), ErrorCode::input, path, "holds more than one data.pkl");
    root = m.name.substr(0, slash);
  }
  require(!root.empty(), ErrorCode::input, path, "is a zip archive without data.pkl, so no file of torch.save");
  return root;
}

BinStore::BinStore(const std::filesystem::path& path) : path_(path.string()), file_(MappedFile::open(path)) {
  refuse_legacy(file_->text(), path_);
  const ZipArchive zip(file_->bytes(), path_);
  const std::string root = root_of(zip, path_);
  if (const auto* order = zip.find(root + "/byteorder")) {
    const std::string_view text(reinterpret_cast<const char*>(order->data.data()), order->data.size());
    require(text == "little", ErrorCode::input, path_, "its byteorder is not \"little\"");
  }
  const Pickle pickle(zip.find(root + "/data.pkl")->data, torch_globals(), path_ + ": data.pkl");
  read(tensors_of(pickle.root()), zip, root + "/data/");
}

// {name: tensor}, perhaps one level down in what a training script saved; or the parameters of an nn.Embedding.
const PickleValue& BinStore::tensors_of(const PickleValue& root) {
  const bool call = root.kind == Kind::call;
  if (call && root.items[0]->text == kTorchEmbedding) {
    const PickleValue* parameters = root.items.size() == 3 ? root.items[2]->find("_parameters") : nullptr;
    require(parameters && parameters->kind == Kind::dict, ErrorCode::input, path_, "is an nn.Embedding without weight");
    return *parameters;
  }
  require(root.kind == Kind::dict, ErrorCode::input, path_, "holds no dict of tensors", call ? " but one call of " : "",
          call ? root.items[0]->text : "");
  for (const char* key : {"state_dict", "model"}) {
    const PickleValue* inner = root.find(key);
    if (!inner || inner->kind != Kind::dict) continue;
    for (std::size_t i = 0; i < root.items.size(); i += 2)
      if (root.items[i + 1] != inner) skip(name_of(*root.items[i]));
    return *inner;
  }
  return root;
}

std::string BinStore::name_of(const PickleValue& key) const {
  constexpr std::size_t kLongest = 256;
  require(key.text.size() <= kLongest && unicode::is_valid(key.text), ErrorCode::input, path_,
          "data.pkl: a name is longer than ", kLongest, " bytes or no UTF-8");
  return key.kind == Kind::text ? std::string(key.text) : "a key that is no text";
}

void BinStore::skip(const std::string& name) {
  constexpr std::size_t kListed = 3;
  if (++skipped_count_ <= kListed) skipped_ += (skipped_count_ > 1 ? ", " : "") + name;
}

void BinStore::read(const PickleValue& dict, const ZipArchive& zip, const std::string& prefix) {
  constexpr std::size_t kMostTensors = 1 << 16;
  for (std::size_t i = 0; i < dict.items.size(); i += 2) {
    const PickleValue &key = *dict.items[i], &value = *dict.items[i + 1];
    const std::string name = name_of(key);
    require(views_.size() < kMostTensors, ErrorCode::input, path_, "holds more than ", kMostTensors, " tensors");
    if (key.kind != Kind::text || value.kind != Kind::call) skip(name);
    else if (!views_.emplace(name, torch_view(value, zip, prefix, path_ + ": tensor " + name)).second)
      fail(ErrorCode::input, path_, "tensor ", name, " stands twice in data.pkl");
  }
}

std::string BinStore::note() const {
  if (skipped_count_ == 0) return {};
  return path_ + ": skipped " + std::to_string(skipped_count_) + " values that are no tensors: " + skipped_ +
         (skipped_count_ > 3 ? ", .." : "");
}

}  // namespace

std::unique_ptr<TensorStore> open_bin(const std::filesystem::path& path) { return std::make_unique<BinStore>(path); }

}  // namespace sinter
