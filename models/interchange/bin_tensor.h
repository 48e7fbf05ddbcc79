#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "core/file.h"
#include "core/tensor.h"
#include "models/interchange/pickle.h"
#include "models/interchange/zip.h"

namespace sinter {

struct TorchType {
  std::string_view storage, name;  // "torch.FloatStorage", "F32"
  std::optional<DType> dtype;  // nothing for what Tensor cannot hold; BOOL is u8
  std::int64_t bytes;  // of an element
};

// Element (i, j, ..) stands at first[i·strides[0] + j·strides[1] + ..], counted in elements; all of it lies inside of
// the archive. Any strides, none negative; never more elements than the storage has.
struct TorchView {
  const TorchType* type = nullptr;
  const std::byte* first = nullptr;
  Shape shape;
  std::array<std::int64_t, kMaxRank> strides{};
};

// All that a file of tensors may name in its pickle; passed to Pickle.
std::span<const std::string_view> torch_globals();
inline constexpr std::string_view kTorchEmbedding = "torch.nn.modules.sparse.Embedding";

// The tensor (or Parameter) that `value` describes, its bytes in the member `prefix` + key of the archive. Error(input)
// naming `where` for what describes no tensor, and for a view that reaches beyond its storage or a storage beyond its
// member. Source: torch/_utils.py, torch/serialization.py.
TorchView torch_view(const PickleValue& value, const ZipArchive&, const std::string& prefix, const std::string& where);

// Borrowed where the view is contiguous and aligned to its element, else a copy. Error(input) for a type without DType.
Tensor torch_tensor(const TorchView&, const std::shared_ptr<const MappedFile>& file, const std::string& where);

}  // namespace sinter
