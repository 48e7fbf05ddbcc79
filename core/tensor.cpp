#include "core/tensor.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "core/basic_kernels.h"

namespace sinter {

Tensor Tensor::empty(Shape shape, DType dtype, Device device) {
  std::int64_t n = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    require(shape[i] == 0 || n <= std::numeric_limits<std::int64_t>::max() / 16 / shape[i], ErrorCode::shape, "Tensor",
            shape, " is too large");
    n *= shape[i];
  }
  Tensor t;
  t.storage_ = std::make_shared<Storage>(device, std::size_t(n) * info(dtype).size);
  t.shape_ = shape;
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::zeros(Shape shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  zero_bytes(device, t.storage_->data(), t.bytes());
  return t;
}

Tensor Tensor::full(Shape shape, double value, DType dtype) {
  Tensor t = empty(shape, dtype);
  visit_stored(dtype, "Tensor::full", [&]<class T>() { std::ranges::fill(t.mutable_data<T>(), from_float<T>(value)); });
  return t;
}

Tensor Tensor::borrow(Shape shape, DType dtype, const std::byte* data, std::shared_ptr<const void> keeper,
                      Backing backing) {
  Tensor t;
  const std::size_t bytes = std::size_t(shape.numel()) * info(dtype).size;
  t.storage_ = std::make_shared<Storage>(data, bytes, std::move(keeper), backing);
  t.shape_ = shape;
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::reshape(Shape s) const {
  require(s.numel() == numel(), ErrorCode::shape, "reshape", shape_, " to ", s);
  Tensor t = *this;
  t.shape_ = s;
  return t;
}

Tensor Tensor::rows(std::int64_t begin, std::int64_t end) const {
  require(shape_.rank() > 0 && 0 <= begin && begin <= end && end <= shape_[0], ErrorCode::shape, "rows", begin, "..",
          end, " of ", shape_);
  Tensor t = *this;
  t.offset_ += begin * (numel() / std::max<std::int64_t>(shape_[0], 1));
  t.shape_.at(0) = end - begin;
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape_, dtype_, device());
  copy_bytes(device(), t.storage_->data(), raw(), bytes());
  return t;
}

// The pages at the ends may hold a neighbour's bytes as well: those are read again too.
void Tensor::release_pages() const {
  if (!storage_ || storage_->backing() != Backing::file) return;
  const auto page = std::uintptr_t(::sysconf(_SC_PAGESIZE)),
             begin = reinterpret_cast<std::uintptr_t>(raw()) / page * page;
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(raw()) + bytes();
  (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Tensor Tensor::to(Device d) const {
  if (d == device()) return *this;
  require(d.kind == DeviceKind::cpu || device().kind == DeviceKind::cpu, ErrorCode::unsupported, "Tensor::to",
          "no copy from ", device(), " to ", d);
  Tensor t = empty(shape_, dtype_, d);
  if (d.kind == DeviceKind::cpu) download_bytes(device(), t.storage_->data(), raw(), bytes());
  else upload_bytes(d, t.storage_->data(), raw(), bytes());
  return t;
}

}  // namespace sinter
