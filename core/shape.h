#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "core/error.h"

namespace sinter {

inline constexpr int kMaxRank = 6;

// Dimensions of a tensor, row-major, kept inline. Negative indices count from the end.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) {
    for (auto d : dims) push(d);
  }
  void push(std::int64_t d) {
    require(rank_ < kMaxRank, ErrorCode::shape, "Shape", "rank exceeds ", kMaxRank);
    require(d >= 0, ErrorCode::shape, "Shape", "negative dimension ", d);
    dims_[rank_++] = d;
  }
  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return dims_[i < 0 ? i + rank_ : i]; }
  std::int64_t& at(int i) { return dims_[i < 0 ? i + rank_ : i]; }
  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  friend bool operator==(const Shape&, const Shape&) = default;
  friend std::ostream& operator<<(std::ostream& os, const Shape& s) {
    os << '[';
    for (int i = 0; i < s.rank_; ++i) os << (i ? ", " : "") << s.dims_[i];
    return os << ']';
  }

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace sinter
