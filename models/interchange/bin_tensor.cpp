#include "models/interchange/bin_tensor.h"

#include <algorithm>

namespace sinter {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kTensor = "torch._utils._rebuild_tensor_v2", kParameter = "torch._utils._rebuild_parameter",
                           kSubclass = "torch._tensor._rebuild_from_type_v2";

constexpr TorchType kTypes[] = {
    {"torch.DoubleStorage", "F64", DType::f64, 8},  {"torch.FloatStorage", "F32", DType::f32, 4},
    {"torch.HalfStorage", "F16", DType::f16, 2},    {"torch.BFloat16Storage", "BF16", DType::bf16, 2},
    {"torch.LongStorage", "I64", DType::i64, 8},    {"torch.IntStorage", "I32", DType::i32, 4},
    {"torch.ShortStorage", "I16", std::nullopt, 2}, {"torch.CharStorage", "I8", DType::i8, 1},
    {"torch.ByteStorage", "U8", DType::u8, 1},      {"torch.BoolStorage", "BOOL", DType::u8, 1}};

const TorchType* type_of(const PickleValue& v) {
  if (v.kind == Kind::global)
    for (const TorchType& t : kTypes)
      if (t.storage == v.text) return &t;
  return nullptr;
}

struct Storage {
  const TorchType* type;
  const std::byte* data;
  std::int64_t count;  // elements
};

// ("storage", type, key, location, count), as persistent id
Storage storage_of(const PickleValue& v, const ZipArchive& zip, const std::string& prefix, const std::string& where) {
  static constexpr Kind kKinds[] = {Kind::text, Kind::global, Kind::text, Kind::text, Kind::integer};
  const bool known = v.kind == Kind::reference && v.items[0]->kind == Kind::tuple && v.items[0]->items.size() == 5;
  require(known, ErrorCode::input, where, "refers to no storage");
  const auto& id = v.items[0]->items;
  for (std::size_t i = 0; i < 5; ++i)
    require(id[i]->kind == kKinds[i], ErrorCode::input, where, "its storage is described in an unknown way");
  const Storage s{type_of(*id[1]), nullptr, id[4]->integer};
  require(id[0]->text == "storage" && s.type, ErrorCode::input, where, id[1]->text, " is no storage of a known type");
  require(id[2]->text.size() <= 64, ErrorCode::input, where, "the key of its storage has ", id[2]->text.size(),
          " characters");
  const auto* member = zip.find(prefix + std::string(id[2]->text));
  require(member != nullptr, ErrorCode::input, where, "its storage is missing in the archive");
  const auto room = std::int64_t(member->data.size()) / s.type->bytes;
  require(0 <= s.count && s.count <= room, ErrorCode::input, where, "its storage of ", s.count, " elements has ",
          member->data.size(), " bytes of type ", s.type->name);
  return {s.type, member->data.data(), s.count};
}

// Every element of the view lies in the storage, and there are no more of them than there: a copy stays small.
bool fits(const TorchView& v, std::int64_t offset, std::int64_t count) {
  std::int64_t last = offset, elements = 1;
  bool overflow = offset < 0, empty = false;
  for (int d = 0; d < v.shape.rank(); ++d) {
    const std::int64_t n = v.shape[d], stride = v.strides[std::size_t(d)];
    if (n == 0) empty = true;
    else {
      std::int64_t step = 0;
      overflow |= __builtin_mul_overflow(n - 1, stride, &step) || __builtin_add_overflow(last, step, &last) ||
                  __builtin_mul_overflow(elements, n, &elements);
    }
  }
  return !overflow && (empty || (last < count && elements <= count));
}

// (storage, offset, size, stride, requires_grad, hooks[, metadata])
TorchView view_of(const PickleValue& arguments, const ZipArchive& zip, const std::string& prefix,
                  const std::string& where) {
  const auto& a = arguments.items;
  const bool known = (a.size() == 6 || a.size() == 7) && a[1]->kind == Kind::integer && a[2]->kind == Kind::tuple &&
                     a[3]->kind == Kind::tuple;
  require(known, ErrorCode::input, where, "_rebuild_tensor_v2 has unknown arguments");
  const auto &size = a[2]->items, &stride = a[3]->items;
  require(size.size() <= kMaxRank && size.size() == stride.size(), ErrorCode::input, where, "has ", size.size(),
          " dimensions and ", stride.size(), " strides, at most ", kMaxRank, " are supported");
  const Storage s = storage_of(*a[0], zip, prefix, where);
  TorchView v;
  v.type = s.type;
  for (std::size_t d = 0; d < size.size(); ++d) {
    const bool sound = size[d]->kind == Kind::integer && stride[d]->kind == Kind::integer && size[d]->integer >= 0 &&
                       stride[d]->integer >= 0;
    require(sound, ErrorCode::input, where, "dimension ", d, " has no sound size and stride");
    v.shape.push(size[d]->integer);
    v.strides[d] = stride[d]->integer;
  }
  const std::int64_t offset = a[1]->integer;
  require(fits(v, offset, s.count), ErrorCode::input, where, "shape ", v.shape, " from element ", offset,
          " on reaches beyond its storage of ", s.count, " elements");
  v.first = v.shape.numel() > 0 ? s.data + offset * s.type->bytes : s.data;
  return v;
}

bool is_contiguous(const TorchView& v) {
  std::int64_t expected = 1;
  for (int d = v.shape.rank() - 1; d >= 0; --d) {
    if (v.shape[d] > 1 && v.strides[std::size_t(d)] != expected) return false;
    expected *= v.shape[d];
  }
  return true;
}

// Row-major bytes of dimensions dim, dim + 1, .. of the view; returns where the next ones go.
std::byte* gather(const TorchView& v, int dim, const std::byte* from, std::byte* to) {
  const std::int64_t bytes = v.type->bytes;
  if (dim == v.shape.rank()) return std::copy_n(from, bytes, to);
  for (std::int64_t i = 0; i < v.shape[dim]; ++i)
    to = gather(v, dim + 1, from + i * v.strides[std::size_t(dim)] * bytes, to);
  return to;
}

}  // namespace

std::span<const std::string_view> torch_globals() {
  static constexpr std::string_view kGlobals[] = {
      kTensor,
      kParameter,
      kSubclass,
      kTorchEmbedding,
      "torch.Tensor",
      "torch.nn.parameter.Parameter",
      "torch.Size",
      "torch.DoubleStorage",
      "torch.FloatStorage",
      "torch.HalfStorage",
      "torch.BFloat16Storage",
      "torch.LongStorage",
      "torch.IntStorage",
      "torch.ShortStorage",
      "torch.CharStorage",
      "torch.ByteStorage",
      "torch.BoolStorage",
      "collections.OrderedDict",
      "__builtin__.set",
      "__builtin__.dict",
      "__builtin__.list",
      "builtins.set",
      "builtins.dict",
      "builtins.list",
  };
  return kGlobals;
}

TorchView torch_view(const PickleValue& value, const ZipArchive& zip, const std::string& prefix,
                     const std::string& where) {
  constexpr int kMostWraps = 64;
  const PickleValue* v = &value;
  for (int i = 0; i < kMostWraps && v->kind == Kind::call; ++i) {
    std::string_view made_by = v->items[0]->text;
    const PickleValue* arguments = v->items[1];
    if (made_by == kSubclass) {  // (function, type, arguments, state)
      const auto& a = arguments->items;
      const bool known = a.size() == 4 && a[0]->kind == Kind::global && a[2]->kind == Kind::tuple;
      require(known, ErrorCode::input, where, "_rebuild_from_type_v2 has unknown arguments");
      made_by = a[0]->text;
      arguments = a[2];
    }
    if (made_by == kTensor) return view_of(*arguments, zip, prefix, where);
    require(made_by == kParameter, ErrorCode::input, where, "is made by ", made_by, ", which makes no tensor");
    require(arguments->items.size() == 3, ErrorCode::input, where, "_rebuild_parameter has unknown arguments");
    v = arguments->items[0];
  }
  fail(ErrorCode::input, where, "wraps no tensor");
}

Tensor torch_tensor(const TorchView& v, const std::shared_ptr<const MappedFile>& file, const std::string& where) {
  require(v.type->dtype.has_value(), ErrorCode::input, where, "has type ", v.type->name, ", which is not supported");
  const DType d = *v.type->dtype;
  const bool aligned = reinterpret_cast<std::uintptr_t>(v.first) % info(d).size == 0;
  if (aligned && is_contiguous(v)) return Tensor::borrow(v.shape, d, v.first, file, Backing::file);
  Tensor copy = Tensor::empty(v.shape, d);
  gather(v, 0, v.first, const_cast<std::byte*>(copy.raw()));
  return copy;
}

}  // namespace sinter
