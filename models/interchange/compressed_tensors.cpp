#include "models/interchange/compressed_tensors.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/basic_kernels.h"
#include "models/interchange/compressed_tensors_config.h"
#include "models/interchange/foreign_tensors.h"
#include "models/weights/formats.h"
#include "ops/code_stream.h"

namespace sinter {
namespace {

class CompressedTensors final : public ForeignFormat {
 public:
  explicit CompressedTensors(CompressedTensorsConfig c) : config_(std::move(c)) {}

  std::optional<Packed> packed(const Checkpoint& files, const std::string& linear) const override {
    if (files.has(linear + ".weight_packed")) return words(files, linear);
    if (files.has(linear + ".compressed")) return sparse(files, linear);
    if (files.has(linear + ".weight_scale")) return bytes(files, linear);
    return std::nullopt;
  }
  std::span<const std::string_view> parts() const override {
    static constexpr std::string_view kParts[] = {"weight_packed", "weight_scale", "weight_zero_point",
                                                  "weight_shape",  "weight_g_idx", "compressed",
                                                  "bitmask",       "shape",        "row_offsets"};
    return kParts;
  }

 private:
  Packed words(const Checkpoint&, const std::string& linear) const;
  Packed bytes(const Checkpoint&, const std::string& linear) const;
  Packed sparse(const Checkpoint&, const std::string& linear) const;
  void read_grid(const Checkpoint&, const std::string& linear, const WeightScheme&, GridLinear&) const;
  WordLayout layout_of(const Checkpoint&, const std::string& name, std::int64_t words, std::int64_t count,
                       int bits) const;
  CompressedTensorsConfig config_;
};

// What the tensor's size says; what the version says where both layouts have that size.
WordLayout CompressedTensors::layout_of(const Checkpoint& files, const std::string& name, std::int64_t words,
                                        std::int64_t count, int bits) const {
  const std::int64_t dense = words_for(count, bits, WordLayout::dense),
                     whole = words_for(count, bits, WordLayout::whole);
  if (words != dense && words != whole)
    refuse_tensor(
        files, name,
        std::to_string(dense) + " words for " + std::to_string(count) + " codes of " + std::to_string(bits) + " bits");
  if (dense == whole) return config_.layout();
  return words == dense ? WordLayout::dense : WordLayout::whole;
}

// A matrix of one row that stands for all.
Tensor repeated(const Tensor& row, std::int64_t rows) {
  Tensor all = Tensor::empty({rows, row.shape()[1]}, row.dtype());
  for (std::int64_t i = 0; i < rows; ++i)
    std::copy_n(row.raw(), row.bytes(), const_cast<std::byte*>(all.raw()) + i * std::int64_t(row.bytes()));
  return all;
}

// u8 with 2^(bits−1) added, from i8 values of that many bits.
Tensor shifted(const Checkpoint& files, const std::string& name, int bits) {
  const Tensor t = files.tensor(name);
  Tensor out = Tensor::empty(t.shape(), DType::u8);
  const auto from = t.data<std::int8_t>();
  const auto to = out.mutable_data<std::uint8_t>();
  const int half = 1 << (bits - 1);
  for (std::size_t i = 0; i < from.size(); ++i) {
    require(-half <= from[i] && from[i] < half, ErrorCode::input, files.file_of(name), "tensor ", name, " holds ",
            int(from[i]), ", beyond ", bits, " bits");
    to[i] = std::uint8_t(from[i] + half);
  }
  return out;
}

// Scales and zeros of a linear whose codes are there; `scheme.bits` of them are in use.
void CompressedTensors::read_grid(const Checkpoint& files, const std::string& linear, const WeightScheme& scheme,
                                  GridLinear& w) const {
  const std::int64_t m = w.codes.shape()[0], n = w.codes.shape()[1], rows = scheme.per_tensor ? 1 : m;
  w.group = scheme.group < 0 ? n : std::min(scheme.group, n);
  const std::int64_t groups = (n + w.group - 1) / w.group;
  const std::string scale = linear + ".weight_scale", zero = linear + ".weight_zero_point";
  if (scheme.per_tensor) {
    const Tensor one = files.tensor(scale);
    if (!is_float(one.dtype()) || one.numel() != 1) refuse_tensor(files, scale, "one float");
    w.scale = grid_scale(one.reshape({1, 1}));
    const float s = Scales(w.scale)[0];
    require(std::isfinite(s), ErrorCode::input, files.file_of(scale), "tensor ", scale, " holds ", s);
  } else {
    w.scale = scales_of(files, scale, m, groups, false);
  }
  w.zero = Tensor::empty({rows, groups}, DType::u8);
  std::ranges::fill(w.zero.mutable_data<std::uint8_t>(), std::uint8_t(1 << (scheme.bits - 1)));
  if (files.has(zero)) {
    const Tensor z = files.tensor(zero);
    const bool one = scheme.per_tensor && z.numel() == 1;
    if (z.dtype() == DType::i8) {
      if (z.shape() != Shape{rows, groups} && !one) refuse_tensor(files, zero, "a zero for each scale");
      w.zero = shifted(files, zero, scheme.bits).reshape({rows, groups});
    } else {
      const Tensor packed = words_of(files, zero);
      if (packed.shape()[1] != groups) refuse_tensor(files, zero, std::to_string(groups) + " columns");
      w.zero = unpack_words(packed, 0, rows, scheme.bits, layout_of(files, zero, packed.shape()[0], rows, scheme.bits));
    }
  }
  if (scheme.per_tensor) w.scale = repeated(w.scale, m), w.zero = repeated(w.zero, m);
  w.group_of = group_index_of(files, linear + ".weight_g_idx", n, groups);
}

// The two sides of a tensor "shape" or "weight_shape", i64 or i32, [2] or [2, 1].
std::pair<std::int64_t, std::int64_t> sides_of(const Checkpoint& files, const std::string& name) {
  const Tensor t = files.tensor(name);
  if ((t.dtype() != DType::i64 && t.dtype() != DType::i32) || t.numel() != 2) refuse_tensor(files, name, "i64 [2]");
  if (t.dtype() == DType::i64) return {t.data<std::int64_t>()[0], t.data<std::int64_t>()[1]};
  return {t.data<std::int32_t>()[0], t.data<std::int32_t>()[1]};
}

// The narrowest of our code widths that holds `bits`.
int width_for(int bits) {
  while (!is_code_width(bits)) ++bits;
  return bits;
}

Packed CompressedTensors::words(const Checkpoint& files, const std::string& linear) const {
  const std::string name = linear + ".weight_packed", shape = linear + ".weight_shape";
  const Tensor packed = words_of(files, name);
  const WeightScheme& scheme = config_.scheme_of(linear);
  const std::int64_t m = packed.shape()[0], words = packed.shape()[1];
  std::int64_t n = words * 32 / scheme.bits;
  if (files.has(shape)) {
    const auto [rows, columns] = sides_of(files, shape);
    require(rows == m && 0 < columns && columns <= words * 32, ErrorCode::input, files.file_of(shape), "tensor ", shape,
            " says [", rows, ", ", columns, "], but ", name, " has shape ", packed.shape());
    n = columns;
  }
  GridLinear w;
  w.bits = width_for(scheme.bits);
  w.codes = unpack_words(packed, 1, n, scheme.bits, layout_of(files, name, words, n, scheme.bits));
  read_grid(files, linear, scheme, w);
  return to_packed(std::move(w));
}

// Stored one value per byte, and kept so: eight bits.
Packed CompressedTensors::bytes(const Checkpoint& files, const std::string& linear) const {
  const std::string name = linear + ".weight";
  const Tensor t = files.tensor(name);
  if (t.dtype() != DType::i8 || t.shape().rank() != 2 || t.numel() == 0) refuse_tensor(files, name, "an i8 matrix");
  WeightScheme scheme = config_.scheme_of(linear);
  scheme.bits = 8;
  GridLinear w;
  w.bits = 8;
  w.codes = shifted(files, name, 8);
  read_grid(files, linear, scheme, w);
  return to_packed(std::move(w));
}

bool keeps_two_of_four(const Tensor& mask) {
  return std::ranges::all_of(mask.data<std::uint8_t>(), [](unsigned byte) {
    return std::popcount(byte & 15u) == 2 && std::popcount(byte >> 4) == 2;
  });
}

Packed CompressedTensors::sparse(const Checkpoint& files, const std::string& linear) const {
  const std::string name = linear + ".compressed", bits = linear + ".bitmask", offsets = linear + ".row_offsets";
  const Tensor values = files.tensor(name), mask = files.tensor(bits);
  const auto [m, n] = sides_of(files, linear + ".shape");
  const std::int64_t rows = mask.shape().rank() == 2 ? mask.shape()[0] : 0;
  if (mask.dtype() != DType::u8 || m < 1 || n < 1 || rows != m || mask.shape()[1] != n / 8 + (n % 8 != 0))
    refuse_tensor(files, bits, "a bit for each weight of [" + std::to_string(m) + ", " + std::to_string(n) + "]");
  SparseMatrix w{m, n, {}, mask, values, 0, 0, {}, {}, {}, {}};
  if (n % 8 == 0 && values.shape() == Shape{m, n / 2} && keeps_two_of_four(mask)) w.pattern = {2, 4};
  else w.values = values.reshape({values.numel()});
  try {
    Packed p = freeze_sparse(std::move(w))->pack();
    if (!files.has(offsets)) return p;
    const Tensor start = files.tensor(offsets);
    if (start.dtype() != DType::i64 || start.numel() != m) refuse_tensor(files, offsets, "i64, one for each row");
    std::int64_t kept = 0;
    for (std::int64_t i = 0; i < m; ++i) {
      require(start.data<std::int64_t>()[std::size_t(i)] == kept, ErrorCode::input, files.file_of(offsets), "tensor ",
              offsets, " says that row ", i, " begins elsewhere than bitmask says");
      for (const unsigned byte : mask.rows(i, i + 1).data<std::uint8_t>()) kept += std::popcount(byte);
    }
    return p;
  } catch (const Error& e) {
    if (e.code() != ErrorCode::input) throw;
    fail(ErrorCode::input, files.file_of(name), "tensors ", linear, ".*: ", e.what());
  }
}

}  // namespace

std::unique_ptr<ForeignFormat> read_compressed_tensors(const Json& config, const std::string& where,
                                                       std::vector<std::string>& warnings) {
  return std::make_unique<CompressedTensors>(CompressedTensorsConfig(config, where, warnings));
}

NamedTensors compressed_tensors(const std::string& linear, const GridLinear& w) {
  const std::int64_t m = w.codes.shape()[0], n = w.codes.shape()[1];
  NamedTensors all = {{linear + ".weight_packed", pack_words(w.codes, 1, w.bits)},
                      {linear + ".weight_scale", w.scale},
                      {linear + ".weight_shape", Tensor::of<std::int64_t>({2}, std::array{m, n})}};
  if (!is_symmetric(w)) all.emplace_back(linear + ".weight_zero_point", pack_words(w.zero, 0, w.bits));
  return all;
}

}  // namespace sinter
