#pragma once
#include <string>
#include <vector>

#include "core/basic_kernels.h"
#include "ops/sparse_matrix.h"
#include "test/check.h"

// Pruned matrices of every kind, with the dense ones that they stand for.
namespace sinter::test {

struct SparseCase {
  std::int64_t rows, cols;
  KeptPattern pattern;
  double density = 0.5;  // without a pattern
  DType type = DType::f32;  // of values
  int bits = 0;  // or codes
  std::int64_t group = 0;
  DType scale = DType::f32;
  bool order = false;
};

inline std::string text_of(const SparseCase& c) {
  std::ostringstream s;
  s << c.rows << " x " << c.cols << ", ";
  if (c.pattern.of) s << c.pattern.keep << ":" << c.pattern.of << ", ";
  else s << c.density << ", ";
  if (c.bits) s << c.bits << " bits g" << c.group << " " << info(c.scale).name << (c.order ? " ordered" : "");
  else s << info(c.type).name;
  return s.str();
}

// u8 [m, n]: 1 where a weight is pruned, at random.
inline Tensor dropped(const SparseCase& c) {
  Tensor t = Tensor::zeros({c.rows, c.cols}, DType::u8);
  const auto drop = t.mutable_data<std::uint8_t>();
  const Rng rng{kSeed, 9};
  if (c.pattern.of == 0) {
    for (std::size_t i = 0; i < drop.size(); ++i) drop[i] = rng.uniform(i) >= c.density;
    return t;
  }
  const std::int64_t of = c.pattern.of;
  for (std::int64_t g = 0; g < c.rows * c.cols / of; ++g)  // the (of − keep) after a random one, in a circle
    for (std::int64_t k = 0, at = std::int64_t(rng.below(std::uint64_t(g), std::uint64_t(of))); k < of - c.pattern.keep;
         ++k)
      drop[std::size_t(g * of + (at + k) % of)] = 1;
  return t;
}

// Random codes on random grids, those of pruned weights at zero.
inline PackedInt pruned_codes(const SparseCase& c, const Tensor& drop) {
  PackedInt w;
  w.rows = c.rows, w.cols = c.cols, w.group = c.group, w.bits = c.bits;
  const std::int64_t G = w.groups(), n = c.cols;
  w.zero = Tensor::empty({c.rows, G}, DType::u8);
  Tensor codes = Tensor::empty({c.rows, n}, DType::u8);
  std::uint64_t at = 0;
  for (Tensor* t : {&codes, &w.zero})
    for (auto& v : t->mutable_data<std::uint8_t>()) v = std::uint8_t(Rng{kSeed, 8}.below(at++, 1u << c.bits));
  w.scale = cast(randn({c.rows, G}, 2, DType::f16), c.scale);
  if (c.order) {
    w.order = Tensor::empty({n}, DType::i32);
    const auto p = w.order.mutable_data<std::int32_t>();
    for (std::int64_t k = 0; k < n; ++k) p[std::size_t(k)] = std::int32_t(n - 1 - k);
  }
  const auto to = codes.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < c.rows; ++i)
    for (std::int64_t k = 0; k < n; ++k)
      if (drop.data<std::uint8_t>()[std::size_t(i * n + (c.order ? n - 1 - k : k))])
        to[std::size_t(i * n + k)] = w.zero.data<std::uint8_t>()[std::size_t(i * G + k / c.group)];
  w.codes = pack_codes(codes, c.bits);
  return w;
}

struct SparseMade {
  SparseMatrix matrix;
  Tensor dense;  // f64 [m, n]
};

inline SparseMade make_sparse(const SparseCase& c) {
  const Tensor drop = dropped(c);
  SparseMade made;
  if (c.bits) {
    const PackedInt packed = pruned_codes(c, drop);
    made.dense = Tensor::empty({c.rows, c.cols}, DType::f64);
    unpack_rows(packed, 0, c.rows, made.dense);
    made.matrix = keep_codes(packed, kept_mask(made.dense, c.pattern), c.pattern);
    return made;
  }
  Tensor values = randn({c.rows, c.cols}, 1, DType::f64);
  for (std::int64_t i = 0; i < values.numel(); ++i)
    if (drop.data<std::uint8_t>()[std::size_t(i)]) values.mutable_data<double>()[std::size_t(i)] = 0;
  const Tensor stored = cast(values, c.type);
  made.dense = cast(stored, DType::f64);
  made.matrix = keep_values(stored, kept_mask(stored, c.pattern), c.pattern);
  return made;
}

// Every kind of value with every pattern, at odd shapes: one row, widths that are no multiple of 8 or of the group, rows
// of which nothing or everything is kept.
inline std::vector<SparseCase> sparse_cases() {
  std::vector<SparseCase> all;
  const auto kinds = [&](SparseCase c) {
    for (const DType d : {DType::f32, DType::f16, DType::bf16}) c.type = d, all.push_back(c);
    for (const int bits : {2, 3, 4, 8})
      for (const std::int64_t group : {std::int64_t(3), std::int64_t(16), std::int64_t(16), c.cols}) {
        c.order = group == 16 && c.scale == DType::f16;
        c.bits = bits, c.group = std::min(group, c.cols), c.scale = c.order ? DType::f32 : DType::f16;
        all.push_back(c);
      }
  };
  for (const auto& [m, n] : {std::pair{1, 13}, {20, 101}, {9, 96}, {3, 1100}})
    for (const double density : {0., 0.03, 0.5, 1.}) kinds({m, n, {}, density});
  for (const KeptPattern p : {KeptPattern{2, 4}, {4, 8}, {2, 8}, {1, 4}})
    for (const auto& [m, n] : {std::pair{1, 8}, {20, 104}, {3, 1096}}) kinds({m, n, p});
  kinds({5, 12, {2, 4}});
  kinds({7, 30, {3, 5}});
  kinds({2, 24, {12, 24}});
  return all;
}

}  // namespace sinter::test
