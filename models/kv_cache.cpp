#include "models/kv_cache.h"

#include <algorithm>

#include "core/view.h"

namespace sinter {

KvCache::KvCache(int layers, std::int64_t capacity, std::int64_t width) : capacity_(capacity) {
  for (int i = 0; i < layers; ++i) {
    keys_.push_back(Tensor::empty({capacity, width}, DType::f32));
    values_.push_back(Tensor::empty({capacity, width}, DType::f32));
  }
}

KvCache::Held KvCache::append(int layer, const Tensor& k, const Tensor& v) {
  const auto end = length_ + k.shape()[0];
  require(end <= capacity_, ErrorCode::usage, "kv cache", end, " tokens do not fit a cache of ", capacity_);
  const auto put = [&](Tensor& cache, const Tensor& rows) {
    const View to = View(cache).row_range(length_, end);
    const ConstView from(rows);
    for (std::int64_t i = 0; i < from.rows(); ++i) std::ranges::copy(from.row<float>(i), to.row<float>(i).begin());
    return cache.rows(0, end);
  };
  return {put(keys_.at(std::size_t(layer)), k), put(values_.at(std::size_t(layer)), v)};
}

void KvCache::rollback(std::int64_t length) {
  require(0 <= length && length <= length_, ErrorCode::usage, "kv cache", "roll back to ", length, " of ", length_);
  length_ = length;
}

}  // namespace sinter
