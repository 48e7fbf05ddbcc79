#include "models/interchange/grid_linear.h"

#include <algorithm>
#include <numeric>

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "models/weights/formats.h"
#include "ops/code_stream.h"

namespace sinter {
namespace {

constexpr std::int64_t kRows = 16;  // per task

// The columns sorted by their group, or nothing where the groups do not have the sizes that grouped_int gives them.
std::optional<std::vector<std::int32_t>> order_of(const GridLinear& w) {
  const std::int64_t n = std::int64_t(w.group_of.size()), G = w.scale.shape()[1];
  std::vector<std::int64_t> size(std::size_t(G), 0);
  for (const auto g : w.group_of) ++size[std::size_t(g)];
  for (std::int64_t g = 0; g < G; ++g)
    if (size[std::size_t(g)] != std::min(w.group, n - g * w.group)) return std::nullopt;
  std::vector<std::int32_t> order(w.group_of.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::int32_t j) { return w.group_of[std::size_t(j)]; });
  return order;
}

bool in_sequence(const std::vector<std::int32_t>& group_of, std::int64_t group) {
  for (std::size_t j = 0; j < group_of.size(); ++j)
    if (group_of[j] != std::int64_t(j) / group) return false;
  return true;
}

// to[:, k] = from[:, order[k]], or the reverse.
Tensor permuted(const Tensor& from, std::span<const std::int32_t> order, bool back) {
  const std::int64_t m = from.shape()[0], n = from.shape()[1];
  Tensor to = Tensor::empty({m, n}, DType::u8);
  const std::uint8_t* x = from.data<std::uint8_t>().data();
  std::uint8_t* y = to.mutable_data<std::uint8_t>().data();
  parallel_for(m, kRows, [&](std::int64_t i, std::int64_t end) {
    for (; i < end; ++i)
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t at = order[std::size_t(k)];
        if (back) y[i * n + at] = x[i * n + k];
        else y[i * n + k] = x[i * n + at];
      }
  });
  return to;
}

Packed dense_values(const GridLinear& w) {
  const std::int64_t m = w.codes.shape()[0], n = w.codes.shape()[1], G = w.scale.shape()[1];
  Tensor dense = Tensor::empty({m, n}, DType::f32);
  const auto y = dense.mutable_data<float>();
  const auto code = w.codes.data<std::uint8_t>(), zero = w.zero.data<std::uint8_t>();
  const Scales scale(w.scale);
  parallel_for(m, kRows, [&](std::int64_t i, std::int64_t end) {
    for (; i < end; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        const std::int64_t g = i * G + w.group_of[std::size_t(j)], at = i * n + j;
        y[std::size_t(at)] = scale[g] * float(int(code[std::size_t(at)]) - int(zero[std::size_t(g)]));
      }
  });
  return freeze_dense(dense)->pack();
}

// One code per byte; where the mask has no bit, the code of zero.
GridLinear from_sparse(const Packed& p) {
  const Tensor &mask = p.parts.at("mask"), &packed = p.parts.at("codes");
  GridLinear w{int(p.fields.at("bits")), p.fields.at("group"), {}, p.parts.at("scale"), p.parts.at("zero"), {}};
  const std::int64_t m = mask.shape()[0], n = p.fields.at("cols"), bytes = mask.shape()[1], G = w.zero.shape()[1];
  if (const auto it = p.parts.find("group_of"); it != p.parts.end()) {
    const auto g = it->second.data<std::int32_t>();
    w.group_of.assign(g.begin(), g.end());
  }
  w.codes = Tensor::empty({m, n}, DType::u8);
  std::uint8_t* to = w.codes.mutable_data<std::uint8_t>().data();
  const auto bit = mask.data<std::uint8_t>(), zero = w.zero.data<std::uint8_t>();
  const std::uint8_t* stream = packed.data<std::uint8_t>().data();
  for (std::int64_t i = 0; i < m; ++i) {
    std::int64_t kept = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int64_t g = w.group_of.empty() ? j / w.group : w.group_of[std::size_t(j)];
      const bool keep = bit[std::size_t(i * bytes + j / 8)] >> (j % 8) & 1;
      to[i * n + j] = keep ? std::uint8_t(code_at(stream, kept++, w.bits)) : zero[std::size_t(i * G + g)];
    }
    stream += stream_bytes(kept, w.bits);
  }
  return w;
}

GridLinear from_grouped(const Packed& p) {
  GridLinear w{int(p.fields.at("bits")), p.fields.at("group"), {}, p.parts.at("scale"), p.parts.at("zero"), {}};
  w.codes = unpack_codes(p.parts.at("codes"), p.fields.at("cols"), w.bits);
  if (const auto it = p.parts.find("order"); it != p.parts.end()) {
    const auto order = it->second.data<std::int32_t>();
    w.codes = permuted(w.codes, order, true);
    w.group_of.resize(order.size());
    for (std::size_t k = 0; k < order.size(); ++k)
      w.group_of[std::size_t(order[k])] = std::int32_t(std::int64_t(k) / w.group);
  }
  return w;
}

}  // namespace

bool is_symmetric(const GridLinear& w) {
  const unsigned middle = 1u << (w.bits - 1);
  return std::ranges::all_of(w.zero.data<std::uint8_t>(), [&](std::uint8_t z) { return z == middle; });
}

Packed to_packed(GridLinear w) {
  if (in_sequence(w.group_of, w.group)) w.group_of.clear();
  PackedInt p{w.codes.shape()[0], w.codes.shape()[1], w.group, w.bits, {}, w.scale, w.zero, {}};
  if (!w.group_of.empty()) {
    const auto order = order_of(w);
    if (!order) return dense_values(w);
    p.order = Tensor::of<std::int32_t>({p.cols}, *order);
    w.codes = permuted(w.codes, *order, false);
  }
  p.codes = pack_codes(w.codes, w.bits);
  return freeze_grouped_int(std::move(p))->pack();
}

std::optional<GridLinear> from_packed(const Packed& p) {
  if (!p.parts.contains("codes")) return std::nullopt;
  GridLinear w = p.parts.contains("mask") ? from_sparse(p) : from_grouped(p);
  if (in_sequence(w.group_of, w.group)) w.group_of.clear();
  return w;
}

Tensor grid_scale(const Tensor& t) {
  return t.dtype() == DType::f16 ? t : cast_if_exact(cast(t, DType::f32), DType::f16);
}

}  // namespace sinter
