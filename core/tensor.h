#pragma once
#include <memory>
#include <span>

#include "core/dtype.h"
#include "core/shape.h"
#include "core/storage.h"

namespace sinter {

template <class S>
class BasicView;

// A value: shape + dtype + shared storage, contiguous and row-major. It has no gradient and knows nothing of the tape.
// Copying a Tensor copies a handle; a default-constructed one is empty and false.
class Tensor {
 public:
  Tensor() = default;
  static Tensor empty(Shape, DType, Device = {});  // uninitialised
  static Tensor zeros(Shape, DType, Device = {});
  static Tensor full(Shape, double value, DType);
  template <class T>
  static Tensor of(Shape shape, std::span<const T> values);
  // A read-only window on somebody else's bytes, kept alive by `keeper`.
  static Tensor borrow(Shape, DType, const std::byte* data, std::shared_ptr<const void> keeper,
                       Backing = Backing::memory);

  explicit operator bool() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device() : Device{}; }
  std::int64_t numel() const { return shape_.numel(); }
  std::size_t bytes() const { return storage_ ? std::size_t(numel()) * info(dtype_).size : 0; }
  const std::byte* raw() const { return storage_->data() + offset_ * std::int64_t(info(dtype_).size); }

  Tensor reshape(Shape) const;  // shares storage
  Tensor rows(std::int64_t begin, std::int64_t end) const;  // leading-dim slice, shares storage
  Tensor to(Device) const;  // itself when already there
  Tensor clone() const;  // storage of its own
  // Gives the pages of a mapped file back to the system; they are read again when they are used. Other storage stays.
  void release_pages() const;

  bool sole_owner() const { return storage_.use_count() == 1 && !storage_->borrowed(); }
  template <class T>
  std::span<const T> data() const {
    require(dtype_of<T> == dtype_, ErrorCode::dtype, "Tensor::data", "tensor is ", info(dtype_).name);
    return {reinterpret_cast<const T*>(raw()), std::size_t(numel())};
  }
  // Writing needs sole ownership: nobody else can be surprised by it.
  template <class T>
  std::span<T> mutable_data() {
    require(dtype_of<T> == dtype_, ErrorCode::dtype, "Tensor::mutable_data", "tensor is ", info(dtype_).name);
    require(sole_owner(), ErrorCode::unsupported, "Tensor::mutable_data", "storage is shared; clone() first");
    return {reinterpret_cast<T*>(storage_->data()) + offset_, std::size_t(numel())};
  }

 private:
  template <class>
  friend class BasicView;
  std::shared_ptr<Storage> storage_;
  Shape shape_;
  std::int64_t offset_ = 0;  // elements
  DType dtype_ = DType::f32;
};

template <class T>
Tensor Tensor::of(Shape shape, std::span<const T> values) {
  Tensor t = empty(shape, dtype_of<T>);
  require(shape.numel() == std::int64_t(values.size()), ErrorCode::shape, "Tensor::of", values.size(), " values for ",
          shape);
  auto out = t.mutable_data<T>();
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = values[i];
  return t;
}

}  // namespace sinter
