#pragma once
#include <vector>

#include "core/tensor.h"

namespace sinter {

// Keys (after rotation) and values of one sequence, per layer, f32 [capacity, kv_heads·head_dim].
class KvCache {
 public:
  KvCache(int layers, std::int64_t capacity, std::int64_t width);
  std::int64_t length() const { return length_; }
  std::int64_t capacity() const { return capacity_; }

  struct Held {
    Tensor keys, values;  // rows 0 .. length + new, views
  };
  // Writes k, v [n, width] behind what layer `layer` holds. The length moves once all layers have theirs: advance(n).
  Held append(int layer, const Tensor& k, const Tensor& v);
  void advance(std::int64_t n) { length_ += n; }
  void rollback(std::int64_t length);  // forget what lies behind `length`

 private:
  std::int64_t capacity_, length_ = 0;
  std::vector<Tensor> keys_, values_;
};

}  // namespace sinter
