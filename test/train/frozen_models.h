#pragma once
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "models/llama.h"
#include "models/opt.h"
#include "models/weights/formats.h"
#include "ops/concat.h"
#include "test/check.h"
#include "train/compress/result.h"

// Tiny models whose linears are frozen in every storage format, and what one asks of them.
namespace sinter::test {

// A way to store a dense f32 matrix; what it holds is near the matrix, or near its pruned form.
struct Format {
  std::string name;
  std::function<FrozenWeightPtr(const Tensor&)> freeze;
  bool codes = false;
};

// Zeros by the pattern, the kept ones of a group moving from row to row; without one every third weight.
inline Tensor pruned(const Tensor& dense, KeptPattern p) {
  Tensor w = dense.clone();
  const auto v = w.mutable_data<float>();
  const auto n = std::size_t(w.shape()[1]);
  for (std::size_t i = 0; i < v.size(); ++i)
    if (p.of ? std::int64_t((i % n + i / n) % std::size_t(p.of)) >= p.keep : i % 3 == 0) v[i] = 0;
  return w;
}

struct Codes {
  int bits = 4;
  bool symmetric = false, order = false;
  std::int64_t group = 4;
};

// The nearest codes; `order` reverses the columns, as act-order might.
inline PackedInt coded(const Tensor& dense, const Codes& c) {
  std::vector<std::int64_t> order;
  Tensor w = dense;
  if (c.order) {
    const std::int64_t n = w.shape()[1];
    w = Tensor::empty(dense.shape(), DType::f32);
    for (std::int64_t j = n; j-- > 0;) order.push_back(j);
    for (std::int64_t i = 0; i < w.numel(); ++i)
      w.mutable_data<float>()[std::size_t(i)] = dense.data<float>()[std::size_t(i / n * n + n - 1 - i % n)];
  }
  const Grid grid = find_grid(w, {.bits = c.bits, .symmetric = c.symmetric, .group = c.group}, "test");
  return pack_grid(nearest_codes(w, grid, c.bits), grid, c.bits, order);
}

inline Format dense_format(DType type) {
  return {"dense " + std::string(info(type).name), [=](const Tensor& w) { return freeze_dense(cast(w, type)); }};
}
inline Format code_format(Codes c) {
  return {"codes of " + std::to_string(c.bits) + " bits" + (c.symmetric ? ", symmetric" : "") +
              (c.order ? ", ordered" : ""),
          [=](const Tensor& w) { return freeze_grouped_int(coded(w, c)); }, true};
}
inline std::string name_of(KeptPattern p) {
  return p.of ? std::to_string(p.keep) + ":" + std::to_string(p.of) : "bitmap";
}
inline Format sparse_format(KeptPattern p, DType type) {
  return {name_of(p) + " " + std::string(info(type).name), [=](const Tensor& w) {
            const Tensor kept = pruned(w, p);
            return freeze_sparse(keep_values(cast(kept, type), kept_mask(kept, p), p));
          }};
}
inline Format joint_format(KeptPattern p, Codes c) {
  return {name_of(p) + " of " + code_format(c).name,
          [=](const Tensor& w) {
            const Tensor kept = pruned(w, p);
            return freeze_sparse(keep_codes(coded(kept, c), kept_mask(kept, p), p));
          },
          true};
}

inline const std::vector<KeptPattern> kPatterns{{0, 0}, {2, 4}, {4, 8}, {2, 8}};

inline std::vector<Format> every_format() {
  std::vector<Format> all;
  for (const DType d : {DType::f32, DType::f16, DType::bf16}) all.push_back(dense_format(d));
  for (const int bits : {2, 3, 4, 8})
    for (const auto& [symmetric, order] : {std::pair{false, false}, {true, false}, {false, true}})
      all.push_back(code_format({bits, symmetric, order}));
  for (const KeptPattern p : kPatterns) {
    for (const DType d : {DType::f32, DType::f16, DType::bf16}) all.push_back(sparse_format(p, d));
    all.push_back(joint_format(p, {4}));
    all.push_back(joint_format(p, {3, true}));
    all.push_back(joint_format(p, {2, false, true}));
  }
  return all;
}

inline constexpr std::int64_t kVocab = 24;

// The OPT is smooth, so that no difference steps over a corner of ReLU, and its words are narrower than its hidden states.
inline ModelConfig tiny_config(Family family, std::int64_t width) {
  Json c{{"model_type", family == Family::llama ? "llama" : "opt"},
         {"vocab_size", kVocab},
         {"hidden_size", width},
         {"num_hidden_layers", 2},
         {"num_attention_heads", 4},
         {"max_position_embeddings", 16}};
  if (family == Family::llama) {
    c["intermediate_size"] = 2 * width;
    c["num_key_value_heads"] = 2;
  } else {
    c["ffn_dim"] = 2 * width;
    c["word_embed_proj_dim"] = width / 2;
    c["activation_function"] = "gelu";
  }
  return parse_config(c, "tiny");
}

// Random values of a size that keeps logits lively; vectors of `type`, linears of blocks in `format`, the rest dense f32.
class TinySource final : public TensorSource {
 public:
  TinySource(Format format, DType type) : format_(std::move(format)), type_(type) {}
  bool has(const std::string&) const override { return false; }
  Tensor vector(const std::string& name, Shape shape) override {
    const bool gain = name.find("norm") != std::string::npos && name.ends_with("weight");
    Tensor t = randn(shape, stream_++, DType::f64);
    for (double& v : t.mutable_data<double>()) v = 0.2 * v + (gain ? 1 : 0);
    return cast(t, type_);
  }
  FrozenWeightPtr matrix(const std::string& name, std::int64_t out, std::int64_t in) override {
    Tensor t = randn({out, in}, stream_++, DType::f32);
    for (float& v : t.mutable_data<float>()) v *= float(1 / std::sqrt(double(in)));
    return name.find("layers.") == std::string::npos ? freeze_dense(t) : format_.freeze(t);
  }

 private:
  Format format_;
  DType type_;
  std::uint64_t stream_ = 1;
};

inline std::unique_ptr<CausalLM> tiny_model(Family family, const Format& format, std::int64_t width = 16,
                                            DType type = DType::f32) {
  TinySource source(format, type);
  const ModelConfig c = tiny_config(family, width);
  return family == Family::llama ? make_llama(c, source) : make_opt(c, source);
}

inline constexpr Family kFamilies[] = {Family::llama, Family::opt};
inline const std::vector<std::int32_t> kIds{1, 5, 9, 22, 4, 17};

// Random values for the adapters' factors, in `type`.
inline void set_factors(CausalLM& model, DType type = DType::f32, double size = 0.3) {
  std::uint64_t stream = 1000;
  model.each_linear([&](Linear& l) {
    l.each_param([&](Param& p) {
      Tensor t = randn(p.value().shape(), stream++, DType::f64);
      for (double& v : t.mutable_data<double>()) v *= size;
      p.assign(cast(t, type));
    });
  });
}

inline Tensor logits(const CausalLM& model, const Context& ctx = {}, const Tensor& prompt = {},
                     std::span<const std::int32_t> ids = kIds) {
  Var e = model.embed(ctx, ids);
  const std::int64_t k = prompt ? prompt.shape()[0] : 0, n = k + std::int64_t(ids.size());
  if (k) e = concat_rows(std::array{Var(prompt), e});
  const Layout layout = Layout::one(n);
  return model.logits(ctx, model.run(ctx, model.enter(ctx, e, layout), model.all(), layout)).value().rows(k, n);
}

inline double largest(const Tensor& t) {
  double m = 0;
  for (std::int64_t i = 0; i < t.numel(); ++i) m = std::max(m, std::abs(value_at(t, i)));
  return m;
}
inline double relative(const Tensor& a, const Tensor& b) { return distance(a, b) / largest(b); }

// Every part of every frozen linear, copied.
inline std::vector<Tensor> packed_parts(CausalLM& model) {
  std::vector<Tensor> all;
  model.each_linear([&](const Linear& l) {
    for (const auto& [name, part] : l.frozen()->pack().parts) all.push_back(part.clone());
  });
  return all;
}
inline bool same_parts(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::ranges::equal(a, b, same_bits);
}

}  // namespace sinter::test
