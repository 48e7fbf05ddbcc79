#pragma once
#include <memory>
#include <span>
#include <type_traits>
#include "core/tensor.h"

namespace sinter {

// A window [rows, cols] on a Tensor's storage, `stride` elements from row to
// row. It holds the storage, not a pointer, so it can name a part of an output
// or of a KV cache on any device. A View writes although the storage is
// shared: whoever makes one answers for it.
template <class S>  // Storage or const Storage
class BasicView {
 public:
  static constexpr bool kWritable = !std::is_const_v<S>;
  using Source = std::conditional_t<kWritable, Tensor, const Tensor>;
  template <class T>
  using Element = std::conditional_t<kWritable, T, const T>;

  BasicView(Source& t)  // [..., n] as [numel / n, n]
      : storage_(t.storage_),
        offset_(t.offset_),
        cols_(t.shape().rank() ? t.shape()[-1] : 1),
        stride_(cols_),
        dtype_(t.dtype()) {
    require(bool(t), ErrorCode::shape, "View", "of an empty tensor");
    rows_ = cols_ ? t.numel() / cols_ : 0;
  }
  operator BasicView<const S>() const requires kWritable {
    return BasicView<const S>(storage_, offset_, rows_, cols_, stride_, dtype_);
  }

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t stride() const { return stride_; }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_->device(); }

  BasicView row_range(std::int64_t begin, std::int64_t end) const {
    check("row_range", begin, end, rows_);
    return {storage_, offset_ + begin * stride_, end - begin, cols_, stride_, dtype_};
  }
  BasicView col_range(std::int64_t begin, std::int64_t end) const {
    check("col_range", begin, end, cols_);
    return {storage_, offset_ + begin, rows_, end - begin, stride_, dtype_};
  }

  template <class T>
  Element<T>* data() const {
    require(dtype_of<T> == dtype_, ErrorCode::dtype, "View::data", "view is ", info(dtype_).name);
    return reinterpret_cast<Element<T>*>(storage_->data()) + offset_;
  }
  template <class T>
  std::span<Element<T>> row(std::int64_t i) const {
    return {data<T>() + i * stride_, std::size_t(cols_)};
  }

 private:
  template <class>
  friend class BasicView;
  BasicView(std::shared_ptr<S> s, std::int64_t offset, std::int64_t rows, std::int64_t cols, std::int64_t stride,
            DType d)
      : storage_(std::move(s)), offset_(offset), rows_(rows), cols_(cols), stride_(stride), dtype_(d) {}
  static void check(std::string_view where, std::int64_t begin, std::int64_t end, std::int64_t n) {
    require(0 <= begin && begin <= end && end <= n, ErrorCode::shape, where, begin, "..", end, " of ", n);
  }
  std::shared_ptr<S> storage_;
  std::int64_t offset_ = 0, rows_ = 0, cols_ = 0, stride_ = 0;
  DType dtype_;
};

using View = BasicView<Storage>;
using ConstView = BasicView<const Storage>;

}  // namespace sinter
