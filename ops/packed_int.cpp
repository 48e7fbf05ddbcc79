#include "ops/packed_int.h"

#include <algorithm>
#include <vector>

#include "core/basic_kernels.h"
#include "core/parallel.h"
#include "ops/code_stream.h"
#include "ops/few_rows.h"
#include "ops/gemm_tile.h"
#include "ops/isa/kernels.h"
#include "ops/strip_product.h"

namespace sinter {
namespace {

// Rows in stored column order.
class PackedSource final : public StripSource {
 public:
  explicit PackedSource(const PackedInt& w)
      : w_(w),
        codes_(w.codes.data<std::uint8_t>()),
        scale_(w.scale),
        zero_(w.zero.data<std::uint8_t>()),
        bytes_(stream_bytes(w.cols, w.bits)) {}
  std::int64_t in_features() const override { return w_.cols; }

  void expand(std::int64_t row, std::int64_t col, std::int64_t n, float* to) const override {
    const auto unpack = cpu_kernels().unpack;
    const std::uint8_t* stream = codes_.data() + row * bytes_;
    each_group(row, col, n, [&](std::int64_t first, std::int64_t count, float scale, float zero) {
      unpack(to + (first - col), stream, codes_.data() + codes_.size(), first, count, w_.bits, scale, zero);
    });
  }
  void expand(std::int64_t row, std::int64_t col, std::int64_t n, double* to) const override {
    const std::uint8_t* stream = codes_.data() + row * bytes_;
    each_group(row, col, n, [&](std::int64_t first, std::int64_t count, double scale, double zero) {
      for (std::int64_t j = first; j < first + count; ++j) to[j - col] = scale * (code_at(stream, j, w_.bits) - zero);
    });
  }

 private:
  template <class F>
  void each_group(std::int64_t row, std::int64_t col, std::int64_t n, F f) const {
    for (std::int64_t at = col; at < col + n;) {
      const std::int64_t g = at / w_.group, end = std::min({(g + 1) * w_.group, col + n});
      const std::int64_t i = row * w_.groups() + g;
      f(at, end - at, scale_[i], zero_[std::size_t(i)]);
      at = end;
    }
  }
  const PackedInt& w_;
  std::span<const std::uint8_t> codes_;
  Scales scale_;
  std::span<const std::uint8_t> zero_;
  std::int64_t bytes_;
};

// Above this many rows of x an f32 product unpacks codes once into memory.
constexpr std::int64_t kInRegisters = 4;

// f(the codes of n rows, n, where their products [T, n] go) for tasks of rows begin..end, then the epilogue.
template <class F>
void registers_product(const PackedInt& w, std::int64_t T, std::int64_t begin, std::int64_t end, const View& y,
                       const Epilogue& e, F&& f) {
  const std::int64_t bytes = stream_bytes(w.cols, w.bits);
  const auto codes = w.codes.data<std::uint8_t>();
  parallel_for(end - begin, decode_grain(w.cols), [&](std::int64_t b, std::int64_t stop) {
    const std::int64_t first = begin + b, n = stop - b;
    const GridRows grid(w.scale, w.zero, first, n);
    const PackedRows rows{codes.data() + first * bytes,
                          codes.data() + codes.size(),
                          grid.scale(),
                          grid.zero(),
                          bytes,
                          w.cols,
                          w.group,
                          w.groups(),
                          w.bits};
    std::vector<float> p(std::size_t(T * n));
    f(rows, n, p.data());
    merge_tile<float>(T, n, p.data(), n, y.data<float>() + b, y.stride(), tile_epilogue<float>(e, b, n));
  });
}

// Few rows of x against codes that are unpacked in registers; false where there is no kernel for them.
bool few_rows_product(const PackedInt& w, const ConstView& x, std::int64_t begin, std::int64_t end, const View& y,
                      const Epilogue& e, Compute c) {
  const std::int64_t T = x.rows();
  if (T > kFewDecodeRows || y.dtype() != DType::f32 || y.device() != Device{}) return false;
  if (c == Compute::bf16 && Digits::fit(w.bits, w.cols, w.group)) {
    const Digits digits(x, w.group, w.bits);
    registers_product(w, T, begin, end, y, e, [&](const PackedRows& rows, std::int64_t n, float* p) {
      cpu_kernels().dot_digits(digits.rows(), int(T), rows, n, p, n);
    });
    return true;
  }
  if (T > kInRegisters) return false;
  registers_product(w, T, begin, end, y, e, [&](const PackedRows& rows, std::int64_t n, float* p) {
    cpu_kernels().dot_packed(x.data<float>(), x.stride(), int(T), rows, n, p, n);
  });
  return true;
}

// to[:, j] = from[:, order[j]]
Tensor gathered(const ConstView& from, const Tensor& order) {
  Tensor out = Tensor::empty({from.rows(), from.cols()}, from.dtype());
  const auto at = order.data<std::int32_t>();
  const View to(out);
  visit_float(from.dtype(), "packed product", [&]<class T>() {
    for (std::int64_t i = 0; i < from.rows(); ++i) {
      const auto a = from.row<T>(i);
      const auto b = to.row<T>(i);
      for (std::size_t j = 0; j < b.size(); ++j) b[j] = a[std::size_t(at[j])];
    }
  });
  return out;
}

// to[:, order[j]] = beta·to[:, order[j]] + from[:, j]
void scatter(const ConstView& from, const Tensor& order, float beta, const View& to) {
  const auto at = order.data<std::int32_t>();
  visit_float(from.dtype(), "packed product", [&]<class T>() {
    for (std::int64_t i = 0; i < from.rows(); ++i) {
      const auto a = from.row<T>(i);
      const auto b = to.row<T>(i);
      for (std::size_t j = 0; j < a.size(); ++j) {
        T& v = b[std::size_t(at[j])];
        v = beta == 0 ? a[j] : T(beta) * v + a[j];
      }
    }
  });
}

void check_bits(const PackedInt& w, std::string_view where) {
  const auto codes = w.codes.data<std::uint8_t>();
  const std::int64_t bytes = stream_bytes(w.cols, w.bits);
  if (const auto used = w.cols * w.bits % 8)
    for (std::int64_t i = 0; i < w.rows; ++i)
      require(codes[std::size_t((i + 1) * bytes - 1)] >> used == 0, ErrorCode::input, where,
              "tensor \"codes\" has bits set behind the last code of row ", i);
  if (!w.order) return;
  std::vector<bool> seen(std::size_t(w.cols));
  for (const std::int64_t j : w.order.data<std::int32_t>()) {
    require(0 <= j && j < w.cols && !seen[std::size_t(j)], ErrorCode::input, where,
            "tensor \"order\" is no permutation: ", j);
    seen[std::size_t(j)] = true;
  }
}

}  // namespace

void check_packed(const PackedInt& w, std::string_view where) {
  constexpr std::int64_t kMost = 0x7fffffff;
  require(is_code_width(w.bits), ErrorCode::input, where, "field \"bits\" is ", w.bits, ", expected 2, 3, 4 or 8");
  require(0 < w.rows && w.rows <= kMost && 0 < w.cols && w.cols <= kMost, ErrorCode::input, where, "has ", w.rows,
          " x ", w.cols, " weights");
  require(0 < w.group && w.group <= w.cols, ErrorCode::input, where, "field \"group\" is ", w.group, ", expected 1..",
          w.cols);
  check_part(w.codes, DType::u8, {w.rows, stream_bytes(w.cols, w.bits)}, where, "codes");
  check_grid(w.scale, w.zero, {w.rows, w.groups()}, w.bits, where);
  if (w.order) check_part(w.order, DType::i32, {w.cols}, where, "order");
  check_bits(w, where);
}

Tensor pack_codes(const Tensor& codes, int bits) {
  require(is_code_width(bits) && codes.shape().rank() == 2, ErrorCode::usage, "pack_codes", codes.shape(), " in ", bits,
          " bits");
  const std::int64_t m = codes.shape()[0], n = codes.shape()[1], bytes = stream_bytes(n, bits);
  Tensor packed = Tensor::zeros({m, bytes}, DType::u8);
  const auto from = codes.data<std::uint8_t>();
  const auto to = packed.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      const unsigned code = from[std::size_t(i * n + j)];
      require(code < 1u << bits, ErrorCode::usage, "pack_codes", "code ", code, " needs more than ", bits, " bits");
      put_code(to.data() + i * bytes, j, bits, code);
    }
  return packed;
}

Tensor unpack_codes(const Tensor& packed, std::int64_t cols, int bits) {
  require(is_code_width(bits) && packed.shape().rank() == 2 && packed.shape()[1] == stream_bytes(cols, bits),
          ErrorCode::usage, "unpack_codes", packed.shape(), " for ", cols, " codes of ", bits, " bits");
  Tensor codes = Tensor::empty({packed.shape()[0], cols}, DType::u8);
  const ConstView from(packed);
  const View to(codes);
  for (std::int64_t i = 0; i < to.rows(); ++i) {
    const auto row = to.row<std::uint8_t>(i);
    for (std::int64_t j = 0; j < cols; ++j)
      row[std::size_t(j)] = std::uint8_t(code_at(from.row<std::uint8_t>(i).data(), j, bits));
  }
  return codes;
}

void unpack_rows(const PackedInt& w, std::int64_t begin, std::int64_t end, const View& out) {
  require(0 <= begin && begin <= end && end <= w.rows && out.rows() == end - begin && out.cols() == w.cols,
          ErrorCode::shape, "unpack_rows", begin, "..", end, " of ", w.rows, " into ", Shape{out.rows(), out.cols()});
  const PackedSource source(w);
  visit_float(out.dtype(), "unpack_rows", [&]<class T>() {
    parallel_for(end - begin, 16, [&](std::int64_t b, std::int64_t e) {
      std::vector<T> stored(w.order ? std::size_t(w.cols) : 0);
      for (; b < e; ++b) {
        const auto row = out.row<T>(b);
        if (!w.order) {
          source.expand(begin + b, 0, w.cols, row.data());
          continue;
        }
        source.expand(begin + b, 0, w.cols, stored.data());
        const auto at = w.order.data<std::int32_t>();
        for (std::size_t j = 0; j < stored.size(); ++j) row[std::size_t(at[j])] = stored[j];
      }
    });
  });
}

void packed_product(const PackedInt& w, const ConstView& x, std::int64_t begin, std::int64_t end, const View& y,
                    const Epilogue& e, Compute c) {
  const Tensor keeper = w.order ? gathered(x, w.order) : Tensor();
  const ConstView in = keeper ? ConstView(keeper) : x;
  if (few_rows_product(w, in, begin, end, y, e, c)) return;
  strip_product(PackedSource(w), in, {begin, end}, y, e, c);
}

void packed_product_transposed(const PackedInt& w, const ConstView& dy, std::int64_t begin, std::int64_t end,
                               const View& dx, float beta, Compute c) {
  if (!w.order) return strip_product_transposed(PackedSource(w), dy, {begin, end}, dx, beta, c);
  Tensor stored = Tensor::empty({dx.rows(), dx.cols()}, dx.dtype());
  strip_product_transposed(PackedSource(w), dy, {begin, end}, stored, 0, c);
  scatter(stored, w.order, beta, dx);
}

}  // namespace sinter
