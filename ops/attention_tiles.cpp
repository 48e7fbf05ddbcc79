#include "ops/attention_tiles.h"

namespace sinter::attention_cpu {

void Tiling::add(std::int64_t row, std::int64_t length) {
  const auto span = std::int64_t(first.size()) - 1;
  for (std::int64_t b = 0; b < length; b += kTile) {
    const std::int64_t n = std::min(kTile, length - b);
    tiles.push_back({span, b, n, padded(n), row + b, rows});
    rows += padded(n);
  }
  first.push_back(count());
}

template <class T>
PackedHeads<T> pack(const Tensor& x, const Tiling& tiling, std::int64_t heads, std::int64_t head_dim, T factor) {
  PackedHeads<T> out(heads, tiling.rows, head_dim);
  const T* const rows = x.data<T>().data();
  parallel_for(tiling.count() * heads, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t u = begin; u < end; ++u) {
      const Tile& t = tiling.tiles[std::size_t(u / heads)];
      const std::int64_t head = u % heads;
      T* to = out.tile(head, t);
      for (std::int64_t r = 0; r < t.pad; ++r, to += out.width) {
        if (r < t.n) {
          const T* from = rows + ((t.row + r) * heads + head) * head_dim;
          for (std::int64_t j = 0; j < head_dim; ++j) to[j] = factor * from[j];
        }
        std::fill(to + (r < t.n ? head_dim : 0), to + out.width, T(0));
      }
    }
  });
  return out;
}

template <class T>
PackedHeads<T> pack_transposed(const Tensor& x, const Tiling& tiling, std::int64_t heads, std::int64_t head_dim) {
  PackedHeads<T> out(heads, tiling.rows, head_dim);
  const T* const rows = x.data<T>().data();
  parallel_for(tiling.count() * heads, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t u = begin; u < end; ++u) {
      const Tile& t = tiling.tiles[std::size_t(u / heads)];
      const std::int64_t head = u % heads;
      T* to = out.tile(head, t);
      std::fill_n(to, t.pad * out.width, T(0));
      for (std::int64_t r = 0; r < t.n; ++r) {
        const T* from = rows + ((t.row + r) * heads + head) * head_dim;
        for (std::int64_t j = 0; j < head_dim; ++j) to[j * t.pad + r] = from[j];
      }
    }
  });
  return out;
}

template PackedHeads<float> pack(const Tensor&, const Tiling&, std::int64_t, std::int64_t, float);
template PackedHeads<double> pack(const Tensor&, const Tiling&, std::int64_t, std::int64_t, double);
template PackedHeads<float> pack_transposed(const Tensor&, const Tiling&, std::int64_t, std::int64_t);
template PackedHeads<double> pack_transposed(const Tensor&, const Tiling&, std::int64_t, std::int64_t);

}  // namespace sinter::attention_cpu
