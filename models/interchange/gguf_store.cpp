#include <cstring>

#include "core/error.h"
#include "models/interchange/gguf.h"
#include "models/interchange/gguf_blocks.h"
#include "models/interchange/gguf_file.h"

namespace sinter {
namespace {

constexpr std::string_view kWeight = ".weight";

class GgufStore final : public TensorStore {
 public:
  explicit GgufStore(const std::filesystem::path& path) : file_(path) {
    const std::string arch = file_.text("general.architecture");
    if (arch != "llama") file_.refuse("general.architecture", "llama");
    for (const auto& [name, info] : file_.tensors()) {
      if (name == kGgufRopeFactors) continue;
      const auto hf = hf_name(name);
      require(hf.has_value(), ErrorCode::input, file_.path(), "tensor ", name, " is not one of a LLaMA model");
      if (!in_blocks(info)) tensors_.emplace(*hf, &info);
      else {
        require(hf->ends_with(kWeight) && info.shape.rank() == 2, ErrorCode::input, file_.path(), "tensor ", name,
                " has type ", info.type->name, " and shape ", info.shape, ", expected a matrix in blocks");
        packed_.emplace(hf->substr(0, hf->size() - kWeight.size()), &info);
      }
    }
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, info] : tensors_) names.push_back(name);
    for (const auto& [linear, info] : packed_)
      for (const char* part : kParts) names.push_back(linear + "." + part);
    return names;
  }
  bool has(const std::string& name) const override { return tensors_.contains(name) || find_part(name).first; }
  Tensor tensor(const std::string& name) const override;
  std::optional<Packed> packed(const std::string& linear) const override {
    const auto it = packed_.find(linear);
    if (it == packed_.end()) return std::nullopt;
    const GgufFile::TensorInfo& t = *it->second;
    return unpack_blocks(t.type->name, t.data, t.shape[0], t.shape[1], rows_of(linear, t));
  }

 private:
  using Info = const GgufFile::TensorInfo*;
  static constexpr const char* kParts[] = {"codes", "scale", "zero"};
  static bool in_blocks(const GgufFile::TensorInfo& t) { return t.type->block > 1; }
  HeadRows rows_of(const std::string& name, const GgufFile::TensorInfo&) const;
  // The matrix in blocks and the part that `name` means, or null.
  std::pair<Info, std::string> find_part(const std::string& name) const {
    const auto dot = name.rfind('.');
    if (dot == name.npos) return {};
    const std::string part = name.substr(dot + 1);
    const auto it = packed_.find(name.substr(0, dot));
    if (it == packed_.end() || std::ranges::find(kParts, part) == std::end(kParts)) return {};
    return {it->second, part};
  }

  GgufFile file_;
  std::map<std::string, Info> tensors_;  // by Hugging Face name
  std::map<std::string, Info> packed_;  // by linear
};

HeadRows GgufStore::rows_of(const std::string& name, const GgufFile::TensorInfo& t) const {
  if (!has_head_rows(name)) return {};
  constexpr std::int64_t kMost = 1 << 20;
  const std::int64_t heads = file_.integer("llama.attention.head_count", 1, kMost);
  const bool q = name.find("q_proj") != name.npos;
  const std::int64_t count = q ? heads : file_.integer_or("llama.attention.head_count_kv", heads, 1, kMost);
  const std::int64_t rows = t.shape.rank() > 0 ? t.shape[0] : 1;
  require(rows % (2 * count) == 0, ErrorCode::input, file_.path(), "tensor ", name, " has ", rows, " rows, ", count,
          " heads need a multiple of ", 2 * count);
  return {rows / count};
}

// Mapped as it stands, or a copy with the rows of q_proj and k_proj in Hugging Face's order.
Tensor GgufStore::tensor(const std::string& name) const {
  if (const auto [info, part] = find_part(name); info) return packed(name.substr(0, name.rfind('.')))->parts.at(part);
  const auto it = tensors_.find(name);
  require(it != tensors_.end(), ErrorCode::input, file_.path(), "tensor ", name, " is missing");
  const GgufFile::TensorInfo& t = *it->second;
  const DType dtype = t.type->name == "F32" ? DType::f32 : t.type->name == "F16" ? DType::f16 : DType::bf16;
  const HeadRows order = rows_of(name, t);
  const bool in_place = reinterpret_cast<std::uintptr_t>(t.data) % info(dtype).size == 0;
  if (in_place && order.head == 0) return Tensor::borrow(t.shape, dtype, t.data, file_.keeper(), Backing::file);
  Tensor copy = Tensor::empty(t.shape, dtype);
  const std::int64_t rows = t.shape.rank() > 0 ? t.shape[0] : 1;
  const std::size_t bytes = t.bytes / std::size_t(rows);
  for (std::int64_t i = 0; i < rows; ++i)
    std::memcpy(const_cast<std::byte*>(copy.raw()) + std::size_t(i) * bytes,
                t.data + std::size_t(order.gguf_row(i)) * bytes, bytes);
  return copy;
}

}  // namespace

std::unique_ptr<TensorStore> open_gguf(const std::filesystem::path& path) { return std::make_unique<GgufStore>(path); }

}  // namespace sinter
