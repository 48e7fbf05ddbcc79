#include "models/interchange/gguf_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "models/interchange/gguf_blocks.h"
#include "models/interchange/gguf_header.h"
#include "ops/code_stream.h"

namespace sinter {
namespace {

constexpr std::int64_t kStrip = 1 << 20;  // weights in memory as f32

struct Range {
  int least, most;
};
constexpr Range kQ40{-8, 7}, kQ80{-128, 127};

template <class Half>
void write_halves(std::span<const float> w, std::byte* to, std::span<float> stored) {
  for (std::size_t j = 0; j < w.size(); ++j) {
    const Half h = from_float<Half>(w[j]);
    std::memcpy(to + sizeof h * j, &h, sizeof h);
    stored[j] = to_float(h);
  }
}

}  // namespace

GgufMatrix::GgufMatrix(std::string name, FrozenWeightPtr w, HeadRows order, GgufType wanted, bool at_least_q8)
    : name_(std::move(name)), w_(std::move(w)), order_(order) {
  const Packed p = w_->pack();
  dense_ = p.tag == "dense";
  if (dense_) stored_ = p.parts.at("weight").dtype();
  const auto scale = p.parts.find("scale");
  const bool reordered = p.parts.contains("order") || p.parts.contains("group_of");
  if (scale != p.parts.end() && !reordered) {
    const std::int64_t n = w_->in_features(), group = std::min(p.fields.at("group"), n);
    if (group % kGgmlBlock == 0) {
      scale_ = scale->second;
      group_ = group;
    }
  }
  type_ = &choose(wanted, at_least_q8);
}

Tensor GgufMatrix::rows(std::int64_t begin, std::int64_t end) const {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = begin; i < end; ++i) ids.push_back(std::int32_t(order_.hf_row(i)));
  Tensor w = w_->gather(ids);
  require(std::ranges::all_of(w.data<float>(), [](float v) { return std::isfinite(v); }), ErrorCode::input, name_,
          "holds a value that is not finite");
  return w;
}

// q with scale·q = w for the whole block, if there are any in the range.
bool GgufMatrix::codes_of(std::span<const float> block, float scale, int least, int most, int* q) const {
  for (std::size_t j = 0; j < block.size(); ++j) {
    const float nearest = scale == 0 ? 0 : std::nearbyint(block[j] / scale);
    if (!(nearest >= float(least) && nearest <= float(most)) || scale * nearest != block[j]) return false;
    q[j] = int(nearest);
  }
  return true;
}

GgufMatrix::Facts GgufMatrix::examine() const {
  const std::int64_t m = w_->out_features(), n = w_->in_features(), strip = std::max<std::int64_t>(1, kStrip / n);
  const bool blocks = bool(scale_) && n % kGgmlBlock == 0;
  Facts all{blocks, blocks};
  std::vector<Facts> found(std::size_t(std::min(strip, m)));
  for (std::int64_t begin = 0; begin < m; begin += strip) {
    const std::int64_t count = std::min(strip, m - begin);
    const Tensor w = rows(begin, begin + count);
    parallel_for(count, std::max<std::int64_t>(1, (1 << 16) / n), [&](std::int64_t b, std::int64_t e) {
      for (std::int64_t i = b; i < e; ++i) {
        const auto row = w.data<float>().subspan(std::size_t(i * n), std::size_t(n));
        Facts f{blocks, blocks};
        for (const float v : row) {
          f.in_f16 = f.in_f16 && to_float(to_f16(v)) == v;
          f.in_bf16 = f.in_bf16 && to_float(to_bf16(v)) == v;
        }
        for (std::int64_t at = 0; f.in_q8_0 && at < n; at += kGgmlBlock) {
          int q[kGgmlBlock];
          const float scale = Scales(scale_)[order_.hf_row(begin + i) * scale_.shape()[1] + at / group_];
          const auto block = row.subspan(std::size_t(at), kGgmlBlock);
          f.in_q4_0 = f.in_q4_0 && codes_of(block, scale, kQ40.least, kQ40.most, q);
          f.in_q8_0 = f.in_q4_0 || codes_of(block, scale, kQ80.least, kQ80.most, q);
        }
        found[std::size_t(i)] = f;
      }
    });
    for (std::int64_t i = 0; i < count; ++i) {
      const Facts& f = found[std::size_t(i)];
      all = {all.in_q4_0 && f.in_q4_0, all.in_q8_0 && f.in_q8_0, all.in_f16 && f.in_f16, all.in_bf16 && f.in_bf16};
    }
  }
  return all;
}

const GgmlType& GgufMatrix::choose(GgufType wanted, bool at_least_q8) const {
  const bool blocks = w_->in_features() % kGgmlBlock == 0;
  switch (wanted) {
    case GgufType::f32: return ggml_type("F32");
    case GgufType::f16: return ggml_type("F16");
    case GgufType::bf16: return ggml_type("BF16");
    case GgufType::q4_0: return ggml_type(!blocks ? "F16" : at_least_q8 ? "Q8_0" : "Q4_0");
    case GgufType::q8_0: return ggml_type(blocks ? "Q8_0" : "F16");
    case GgufType::automatic: break;
  }
  if (dense_) return ggml_type(stored_ == DType::f16 ? "F16" : stored_ == DType::bf16 ? "BF16" : "F32");
  const Facts f = examine();
  return ggml_type(f.in_q4_0 ? "Q4_0" : f.in_q8_0 ? "Q8_0" : !f.in_f16 && f.in_bf16 ? "BF16" : "F16");
}

// A block whose codes are there already keeps them; others are quantised anew.
void GgufMatrix::write_row(std::int64_t file_row, std::span<const float> w, std::byte* to, Errors& errors) const {
  std::vector<float> stored(w.begin(), w.end());
  const std::string_view type = type_->name;
  if (type == "F32") std::memcpy(to, w.data(), w.size_bytes());
  if (type == "F16") write_halves<f16>(w, to, stored);
  if (type == "BF16") write_halves<bf16>(w, to, stored);
  const bool q4 = type == "Q4_0";
  if (q4 || type == "Q8_0") {
    const Range range = q4 ? kQ40 : kQ80;
    for (std::size_t at = 0; at < w.size(); at += kGgmlBlock, to += type_->bytes) {
      const auto block = w.subspan(at, kGgmlBlock);
      const auto back = std::span(stored).subspan(at, kGgmlBlock);
      const float scale =
          scale_ ? Scales(scale_)[order_.hf_row(file_row) * scale_.shape()[1] + std::int64_t(at) / group_] : 0;
      const f16 half = to_f16(scale);
      int q[kGgmlBlock];
      const bool usable = to_float(half) != 0 && std::isfinite(to_float(half));
      if (usable && codes_of(block, scale, range.least, range.most, q)) {
        q4 ? put_q4_0(q, half, to) : put_q8_0(q, half, to);
      } else {
        q4 ? quantize_q4_0(block, to) : quantize_q8_0(block, to);
      }
      q4 ? dequantize_q4_0(to, back) : dequantize_q8_0(to, back);
    }
  }
  for (std::size_t j = 0; j < w.size(); ++j) {
    const double difference = double(w[j]) - double(stored[j]);
    errors.difference += difference * difference;
    errors.power += double(w[j]) * double(w[j]);
  }
}

double GgufMatrix::write(const std::function<void(std::span<const std::byte>)>& out) const {
  const std::int64_t m = w_->out_features(), n = w_->in_features(), strip = std::max<std::int64_t>(1, kStrip / n);
  const std::uint64_t bytes = GgufHeader::bytes_of(*type_, {1, n});
  std::vector<std::byte> buffer(std::size_t(std::min(strip, m)) * bytes);
  std::vector<Errors> errors(std::size_t(std::min(strip, m)));
  Errors sum;
  for (std::int64_t begin = 0; begin < m; begin += strip) {
    const std::int64_t count = std::min(strip, m - begin);
    const Tensor w = rows(begin, begin + count);
    parallel_for(count, std::max<std::int64_t>(1, (1 << 16) / n), [&](std::int64_t b, std::int64_t e) {
      for (std::int64_t i = b; i < e; ++i) {
        errors[std::size_t(i)] = {};
        write_row(begin + i, w.data<float>().subspan(std::size_t(i * n), std::size_t(n)),
                  buffer.data() + std::uint64_t(i) * bytes, errors[std::size_t(i)]);
      }
    });
    for (std::int64_t i = 0; i < count; ++i) {
      sum.difference += errors[std::size_t(i)].difference;
      sum.power += errors[std::size_t(i)].power;
    }
    out(std::span(buffer).first(std::size_t(count) * bytes));
  }
  return sum.power > 0 ? std::sqrt(sum.difference / sum.power) : 0;
}

}  // namespace sinter
