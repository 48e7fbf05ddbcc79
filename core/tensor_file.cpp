#include "core/tensor_file.h"

#include <cstring>

#include "core/safetensors.h"

namespace sinter {
namespace {

namespace st = safetensors;

// The stand-alone header has its own exception; here it becomes ours.
template <class F>
auto translated(F&& f) {
  try {
    return f();
  } catch (const st::Failure& e) {
    const std::string text = e.what();
    const auto file = text.substr(0, text.size() - e.reason().size() - 2);
    const auto code = e.cause() == st::Cause::file     ? ErrorCode::input
                      : e.cause() == st::Cause::system ? ErrorCode::io
                                                       : ErrorCode::usage;
    throw Error(code, file, e.reason());
  }
}

struct Pair {
  st::Dtype file;
  DType here;
};
constexpr Pair kPairs[] = {{st::Dtype::F64, DType::f64},   {st::Dtype::F32, DType::f32}, {st::Dtype::F16, DType::f16},
                           {st::Dtype::BF16, DType::bf16}, {st::Dtype::I64, DType::i64}, {st::Dtype::I32, DType::i32},
                           {st::Dtype::U8, DType::u8},     {st::Dtype::I8, DType::i8}};

DType dtype_here(const st::TensorInfo& t, const std::string& file) {
  for (const Pair& p : kPairs)
    if (p.file == t.dtype) return p.here;
  fail(ErrorCode::input, file, "tensor ", t.name, " has type ", st::dtype_name(t.dtype), ", which is not supported");
}
st::Dtype dtype_there(DType d) {
  for (const Pair& p : kPairs)
    if (p.here == d) return p.file;
  fail(ErrorCode::dtype, "safetensors", "no type for ", info(d).name);
}

}  // namespace

struct TensorFile::State {
  st::Reader reader;
};

TensorFile::TensorFile(const std::filesystem::path& path)
    : state_(translated([&] { return std::make_unique<State>(State{st::Reader::open(path.string())}); })) {}
TensorFile::~TensorFile() = default;
TensorFile::TensorFile(TensorFile&&) noexcept = default;
TensorFile& TensorFile::operator=(TensorFile&&) noexcept = default;

const std::string& TensorFile::path() const { return state_->reader.name(); }

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> names;
  for (const auto& t : state_->reader.tensors()) names.push_back(t.name);
  return names;
}

bool TensorFile::has(const std::string& name) const { return state_->reader.find(name) != nullptr; }

Tensor TensorFile::tensor(const std::string& name) const {
  const st::Reader& r = state_->reader;
  const st::TensorInfo* t = r.find(name);
  require(t != nullptr, ErrorCode::input, r.name(), "tensor ", name, " is missing");
  const DType d = dtype_here(*t, r.name());
  require(t->shape.size() <= kMaxRank, ErrorCode::input, r.name(), "tensor ", name, " has ", t->shape.size(),
          " dimensions, at most ", kMaxRank, " are supported");
  Shape shape;
  for (auto n : t->shape) shape.push(std::int64_t(n));
  const std::byte* data = r.data(*t);
  if (reinterpret_cast<std::uintptr_t>(data) % info(d).size == 0)
    return Tensor::borrow(shape, d, data, r.owner(), Backing::file);
  Tensor copy = Tensor::empty(shape, d);
  std::memcpy(const_cast<std::byte*>(copy.raw()), data, t->bytes());
  return copy;
}

const std::map<std::string, std::string>& TensorFile::metadata() const { return state_->reader.metadata(); }
const std::string& TensorFile::warning() const { return state_->reader.warning(); }

void write_tensors(const std::filesystem::path& path, const NamedTensors& tensors,
                   const std::map<std::string, std::string>& metadata) {
  std::vector<st::TensorInfo> infos;
  for (const auto& [name, t] : tensors) {
    st::TensorInfo i;
    i.name = name;
    i.dtype = dtype_there(t.dtype());
    for (int d = 0; d < t.shape().rank(); ++d) i.shape.push_back(std::uint64_t(t.shape()[d]));
    infos.push_back(std::move(i));
  }
  translated([&] {
    st::Writer w(path.string(), std::move(infos), metadata);
    for (const auto& [name, t] : tensors) {
      w.append(name, t.raw(), t.bytes());
      t.release_pages();
    }
    w.commit();
    return 0;
  });
}

}  // namespace sinter
