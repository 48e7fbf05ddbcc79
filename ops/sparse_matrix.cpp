#include "ops/sparse_matrix.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "core/parallel.h"
#include "ops/code_stream.h"
#include "ops/isa/kernels.h"

namespace sinter {
namespace {

constexpr std::int64_t kGrain = 64;  // rows

bool kept(const std::uint8_t* mask, std::int64_t j) { return mask[j / 8] >> j % 8 & 1; }

std::int64_t kept_between(const std::uint8_t* mask, std::int64_t begin, std::int64_t end) {
  const std::uint8_t* p = mask + begin / 8;
  const auto count = cpu_kernels().count_bits;
  return count(p, end - begin / 8 * 8) - count(p, begin % 8);
}

// Where each row begins among all kept weights, or among the bytes of their codes: [m + 1].
std::vector<std::int64_t> row_begins(const SparseMatrix& w) {
  std::vector<std::int64_t> begin(std::size_t(w.rows + 1));
  const std::uint8_t* mask = w.mask.data<std::uint8_t>().data();
  const std::int64_t bytes = (w.cols + 7) / 8;
  parallel_for(w.rows, kGrain, [&](std::int64_t i, std::int64_t end) {
    for (; i < end; ++i) {
      const std::int64_t k = kept_between(mask + i * bytes, 0, w.cols);
      begin[std::size_t(i + 1)] = w.bits ? stream_bytes(k, w.bits) : k;
    }
  });
  for (std::size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  return begin;
}

// The mask of one row has `keep` of each aligned group of `of` columns.
class PatternCheck {
 public:
  explicit PatternCheck(KeptPattern p) : p_(p), bytewise_(8 % p.of == 0) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const auto b = std::uint8_t(byte);
      sound_[byte] = bytewise_ && groups_keep(&b, 0, 8);
    }
  }
  bool operator()(const std::uint8_t* mask, std::int64_t cols) const {
    if (!bytewise_) return groups_keep(mask, 0, cols);
    for (std::int64_t b = 0; b < cols / 8; ++b)
      if (!sound_[mask[b]]) return false;
    return groups_keep(mask, cols / 8 * 8, cols);
  }

 private:
  bool groups_keep(const std::uint8_t* mask, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t j = begin; j < end; j += p_.of)
      if (kept_between(mask, j, j + p_.of) != p_.keep) return false;
    return true;
  }
  KeptPattern p_;
  bool bytewise_;
  std::array<bool, 256> sound_{};
};

void check_mask(const SparseMatrix& w, std::string_view where) {
  const std::int64_t bytes = (w.cols + 7) / 8;
  check_part(w.mask, DType::u8, {w.rows, bytes}, where, "mask");
  const std::uint8_t* mask = w.mask.data<std::uint8_t>().data();
  if (w.cols % 8)
    for (std::int64_t i = 0; i < w.rows; ++i)
      require(mask[(i + 1) * bytes - 1] >> w.cols % 8 == 0, ErrorCode::input, where,
              "tensor \"mask\" has bits set behind the last column of row ", i);
  if (w.pattern.of == 0) return;
  const PatternCheck sound(w.pattern);
  parallel_for(w.rows, kGrain, [&](std::int64_t i, std::int64_t end) {
    for (; i < end; ++i)
      require(sound(mask + i * bytes, w.cols), ErrorCode::input, where, "tensor \"mask\" does not keep ",
              w.pattern.keep, " of every ", w.pattern.of, " weights in row ", i);
  });
}

void check_codes(const SparseMatrix& w, const std::vector<std::int64_t>& begin, std::string_view where) {
  check_grid(w.scale, w.zero, {w.rows, w.groups()}, w.bits, where);
  const auto codes = w.codes.data<std::uint8_t>();
  const std::int64_t bytes = (w.cols + 7) / 8;
  parallel_for(w.rows, kGrain, [&](std::int64_t i, std::int64_t end) {
    for (; i < end; ++i) {
      const std::int64_t k = kept_between(w.mask.data<std::uint8_t>().data() + i * bytes, 0, w.cols);
      if (const auto used = k * w.bits % 8)
        require(codes[std::size_t(begin[std::size_t(i + 1)] - 1)] >> used == 0, ErrorCode::input, where,
                "tensor \"codes\" has bits set behind the last code of row ", i);
    }
  });
  if (!w.group_of) return;
  check_part(w.group_of, DType::i32, {w.cols}, where, "group_of");
  for (const std::int64_t g : w.group_of.data<std::int32_t>())
    require(0 <= g && g < w.groups(), ErrorCode::input, where, "tensor \"group_of\" holds ", g, " of ", w.groups(),
            " groups");
}

void check_sizes(const SparseMatrix& w, std::string_view where) {
  constexpr std::int64_t kMost = 0x7fffffff;
  require(0 < w.rows && w.rows <= kMost && 0 < w.cols && w.cols <= kMost, ErrorCode::input, where, "has ", w.rows,
          " x ", w.cols, " weights");
  const auto [keep, of] = w.pattern;
  require(of == 0 || (0 < keep && keep <= of && of <= w.cols && w.cols % of == 0), ErrorCode::input, where, "keeps ",
          keep, " of every ", of, " in ", w.cols, " columns");
  require(w.bits == 0 || is_code_width(w.bits), ErrorCode::input, where, "field \"bits\" is ", w.bits,
          ", expected 0, 2, 3, 4 or 8");
  if (w.bits == 0) {
    require(!w.codes && !w.scale && !w.zero && !w.group_of, ErrorCode::input, where, "has parts of codes, but no bits");
    require(w.values && info(w.values.dtype()).size <= 4 && is_float(w.values.dtype()), ErrorCode::input, where,
            "tensor \"values\" is ", w.values ? info(w.values.dtype()).name : "missing", ", expected f32, f16 or bf16");
    return;
  }
  require(!w.values, ErrorCode::input, where, "has both codes and values");
  require(0 < w.group && w.group <= w.cols, ErrorCode::input, where, "field \"group\" is ", w.group, ", expected 1..",
          w.cols);
}

}  // namespace

SparseSource::SparseSource(SparseMatrix w, std::string_view where) : w_(std::move(w)) {
  check_sizes(w_, where);
  mask_bytes_ = (w_.cols + 7) / 8;
  check_mask(w_, where);
  begin_ = row_begins(w_);
  const Shape shape = w_.pattern.of ? Shape{w_.rows, begin_[1]} : Shape{begin_.back()};
  if (w_.bits) {
    check_part(w_.codes, DType::u8, shape, where, "codes");
    check_codes(w_, begin_, where);
  } else {
    check_part(w_.values, w_.values.dtype(), shape, where, "values");
  }
}

SparseSource SparseSource::to(Device d) const {
  SparseSource moved = *this;
  SparseMatrix& w = moved.w_;
  for (Tensor* part : {&w.mask, &w.values, &w.codes, &w.scale, &w.zero, &w.group_of})
    if (*part) *part = part->to(d);
  return moved;
}

std::int64_t SparseSource::rank(std::int64_t row, std::int64_t col) const {
  const auto [keep, of] = w_.pattern;
  const std::int64_t groups = of ? col / of : 0;
  return groups * keep + kept_between(mask(row), groups * of, col);
}

void SparseSource::expand(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const {
  if (w_.bits) expand_codes(row, col, n, to);
  else expand_values(row, col, n, to);
}

void SparseSource::expand_values(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const {
  const CpuKernels& isa = cpu_kernels();
  const std::int64_t first = begin_[std::size_t(row)] + rank(row, col);
  const auto spread = [&](auto kernel, const auto* values) {
    kernel(to, mask(row), col, n, values + first, values + w_.values.numel());
  };
  const auto* halves = reinterpret_cast<const std::uint16_t*>(w_.values.raw());
  if (w_.values.dtype() == DType::f32) spread(isa.expand_f32, w_.values.data<float>().data());
  else spread(w_.values.dtype() == DType::bf16 ? isa.expand_bf16 : isa.expand_f16, halves);
}

// Some columns at a time: their codes as floats, then to their places, group by group.
void SparseSource::expand_codes(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const {
  constexpr std::int64_t kPart = 512, kBehind = 16;  // a kernel reads whole vectors
  const CpuKernels& isa = cpu_kernels();
  const std::span<const std::uint8_t> codes = w_.codes.data<std::uint8_t>();
  const std::uint8_t *stream = codes.data() + begin_[std::size_t(row)], *end = codes.data() + codes.size();
  const Scales scale(w_.scale);
  const std::uint8_t* zero = w_.zero.data<std::uint8_t>().data();
  const std::int32_t* group_of = w_.group_of ? w_.group_of.data<std::int32_t>().data() : nullptr;
  float part[kPart + kBehind];
  std::int64_t k = rank(row, col);
  for (std::int64_t at = col; at < col + n;) {
    const std::int64_t stop = std::min(col + n, (at / kPart + 1) * kPart), count = kept_between(mask(row), at, stop);
    isa.unpack(part, stream, end, k, count, w_.bits, 1, 0);
    std::fill_n(part + count, kBehind, 0.f);
    k += count;
    if (group_of) {
      isa.expand_f32(to + (at - col), mask(row), at, stop - at, part, part + count + kBehind);
      for (; at < stop; ++at) {
        const std::int64_t g = row * w_.groups() + group_of[at];
        float& v = to[at - col];
        v = kept(mask(row), at) ? scale[g] * (v - zero[g]) : 0.f;
      }
      continue;
    }
    const float* next = part;
    while (at < stop) {
      const std::int64_t group = at / w_.group, g = row * w_.groups() + group;
      const std::int64_t last = std::min(stop, (group + 1) * w_.group);
      next =
          isa.expand_grid(to + (at - col), mask(row), at, last - at, next, part + count + kBehind, scale[g], zero[g]);
      at = last;
    }
  }
}

void SparseSource::expand(std::int64_t row, std::int64_t col, std::int64_t n, double* to) const {
  const std::uint8_t* bits = mask(row);
  const std::int64_t begin = begin_[std::size_t(row)];
  const auto each = [&](auto value) {
    for (std::int64_t j = col, k = rank(row, col); j < col + n; ++j) to[j - col] = kept(bits, j) ? value(j, k++) : 0.;
  };
  if (w_.bits) {
    const Scales scale(w_.scale);
    const auto zero = w_.zero.data<std::uint8_t>();
    const std::uint8_t* stream = w_.codes.data<std::uint8_t>().data() + begin;
    return each([&](std::int64_t j, std::int64_t k) {
      const std::int64_t group = w_.group_of ? w_.group_of.data<std::int32_t>()[std::size_t(j)] : j / w_.group;
      const std::int64_t g = row * w_.groups() + group;
      return double(scale[g]) * (code_at(stream, k, w_.bits) - double(zero[std::size_t(g)]));
    });
  }
  visit_stored(w_.values.dtype(), "sparse matrix", [&]<class S>() {
    const S* values = w_.values.data<S>().data() + begin;
    each([&](std::int64_t, std::int64_t k) { return double(to_float(values[k])); });
  });
}

Tensor kept_mask(const Tensor& dense, KeptPattern p) {
  const std::int64_t m = dense.shape()[0], n = dense.shape()[1], bytes = (n + 7) / 8;
  if (p.of && n % p.of) return {};
  Tensor out = Tensor::zeros({m, bytes}, DType::u8);
  std::uint8_t* const mask = out.mutable_data<std::uint8_t>().data();
  std::atomic<bool> fits = true;
  visit_stored(dense.dtype(), "kept mask", [&]<class S>() {
    const S* const w = dense.data<S>().data();
    parallel_for(m, kGrain, [&](std::int64_t i, std::int64_t end) {
      for (; i < end; ++i) {
        std::uint8_t* const row = mask + i * bytes;
        for (std::int64_t j = 0; j < n; ++j) row[j / 8] |= std::uint8_t((to_float(w[i * n + j]) != 0) << j % 8);
        for (std::int64_t g = 0; p.of && g < n; g += p.of) {
          std::int64_t missing = p.keep - kept_between(row, g, g + p.of);
          if (missing < 0) fits = false;
          for (std::int64_t j = g; missing > 0; ++j)
            if (!kept(row, j)) row[j / 8] |= std::uint8_t(1 << j % 8), --missing;
        }
      }
    });
  });
  return fits ? out : Tensor();
}

namespace {

SparseMatrix masked(const Shape& shape, const Tensor& mask, KeptPattern p) {
  SparseMatrix w;
  w.rows = shape[0], w.cols = shape[1], w.pattern = p, w.mask = mask;
  return w;
}

// f(row, its mask, where it begins) for all rows.
template <class F>
void each_row(const SparseMatrix& w, const std::vector<std::int64_t>& begin, F f) {
  const std::uint8_t* const mask = w.mask.data<std::uint8_t>().data();
  parallel_for(w.rows, kGrain, [&](std::int64_t i, std::int64_t end) {
    for (; i < end; ++i) f(i, mask + i * ((w.cols + 7) / 8), begin[std::size_t(i)]);
  });
}
Shape stored_shape(const SparseMatrix& w, const std::vector<std::int64_t>& begin) {
  return w.pattern.of ? Shape{w.rows, begin[1]} : Shape{begin.back()};
}

}  // namespace

SparseMatrix keep_values(const Tensor& dense, const Tensor& mask, KeptPattern p) {
  SparseMatrix w = masked(dense.shape(), mask, p);
  const auto begin = row_begins(w);
  w.values = Tensor::empty(stored_shape(w, begin), dense.dtype());
  visit_stored(dense.dtype(), "keep values", [&]<class S>() {
    const S* const from = dense.data<S>().data();
    S* const values = w.values.mutable_data<S>().data();
    each_row(w, begin, [&](std::int64_t i, const std::uint8_t* row, std::int64_t at) {
      for (std::int64_t j = 0; j < w.cols; ++j)
        if (kept(row, j)) values[at++] = from[i * w.cols + j];
    });
  });
  return w;
}

SparseMatrix keep_codes(const PackedInt& packed, const Tensor& mask, KeptPattern p) {
  SparseMatrix w = masked({packed.rows, packed.cols}, mask, p);
  w.bits = packed.bits, w.group = packed.group, w.scale = packed.scale, w.zero = packed.zero;
  const std::int64_t n = w.cols;
  std::vector<std::int64_t> place;  // of a column among the codes
  place.resize(std::size_t(n));
  for (std::int64_t k = 0; k < n; ++k)
    place[std::size_t(packed.order ? packed.order.data<std::int32_t>()[std::size_t(k)] : k)] = k;
  if (packed.order && w.groups() > 1) {
    w.group_of = Tensor::empty({n}, DType::i32);
    std::ranges::transform(place, w.group_of.mutable_data<std::int32_t>().begin(),
                           [&](std::int64_t k) { return std::int32_t(k / w.group); });
  }
  const auto begin = row_begins(w);
  w.codes = Tensor::zeros(stored_shape(w, begin), DType::u8);
  const std::uint8_t* const from = packed.codes.data<std::uint8_t>().data();
  std::uint8_t* const codes = w.codes.mutable_data<std::uint8_t>().data();
  each_row(w, begin, [&](std::int64_t i, const std::uint8_t* row, std::int64_t at) {
    for (std::int64_t j = 0, k = 0; j < n; ++j)
      if (kept(row, j))
        put_code(codes + at, k++, w.bits, code_at(from + i * stream_bytes(n, w.bits), place[std::size_t(j)], w.bits));
  });
  return w;
}

}  // namespace sinter
