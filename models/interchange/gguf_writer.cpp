#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "models/interchange/gguf.h"
#include "models/interchange/gguf_header.h"
#include "models/interchange/gguf_layout.h"
#include "models/interchange/gguf_matrix.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

struct Vector {
  std::string name;  // in the file
  Tensor values;  // f32
};

struct Contents {
  std::vector<GgufMatrix> matrices;
  std::vector<Vector> vectors;
};

Vector norm_or_bias(const std::string& hf, const Weight& w, HeadRows order) {
  const Tensor from = values(w);
  Tensor to = Tensor::empty(from.shape(), DType::f32);
  const auto out = to.mutable_data<float>();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = from.data<float>()[std::size_t(order.hf_row(std::int64_t(i)))];
  return {*gguf_name(hf), std::move(to)};
}

// Pair i of a head turns at frequency_i = base_i / factor_i; only LLaMA 3's factors need a tensor.
void add_rope_factors(const ModelConfig& c, Contents& to) {
  if (c.rope.kind != RopeConfig::Kind::llama3) return;
  ModelConfig plain = c;
  plain.rope.kind = RopeConfig::Kind::standard;
  const auto base = rope_frequencies(plain), scaled = rope_frequencies(c);
  Tensor factors = Tensor::empty({c.head_dim / 2}, DType::f32);
  const auto f = factors.mutable_data<float>();
  for (std::size_t i = 0; i < f.size(); ++i) f[i] = base[i] / scaled[i];
  to.vectors.push_back({std::string(kGgufRopeFactors), std::move(factors)});
}

Contents contents_of(CausalLM& model, GgufType type) {
  const ModelConfig& c = model.config();
  Contents all;
  const auto order_of = [&](const std::string& name) { return HeadRows{has_head_rows(name) ? c.head_dim : 0}; };
  model.each_matrix([&](const std::string& name, Matrix& m) {
    const auto* w = std::get_if<FrozenWeightPtr>(&m);
    require(w != nullptr, ErrorCode::unsupported, name, "its weight is trainable");
    all.matrices.emplace_back(name.substr(0, name.size() - std::string_view(".weight").size()), *w, HeadRows{}, type,
                              true);
  });
  model.each_linear([&](Linear& l) {
    all.matrices.emplace_back(l.name(), l.frozen(), order_of(l.name()), type, false);
    if (l.bias()) all.vectors.push_back(norm_or_bias(l.name() + ".bias", *l.bias(), order_of(l.name())));
  });
  model.each_weight(
      [&](const std::string& name, Weight& w) { all.vectors.push_back(norm_or_bias(name, w, HeadRows{})); });
  add_rope_factors(c, all);
  return all;
}

// The type that most weights have, as llama.cpp numbers them.
int file_type(const Contents& all) {
  std::map<std::string_view, std::int64_t> weights;
  for (const auto& m : all.matrices) weights[m.type().name] += m.shape().numel();
  const auto most = std::ranges::max_element(weights, {}, [](const auto& w) { return w.second; });
  const std::map<std::string_view, int> numbers = {{"F32", 0}, {"F16", 1}, {"Q4_0", 2}, {"Q8_0", 7}, {"BF16", 32}};
  return numbers.at(most->first);
}

void add_metadata(const ModelConfig& c, const std::string& name, int type, GgufHeader& h) {
  h.text("general.architecture", "llama");
  h.text("general.type", "model");
  h.text("general.name", name);
  h.integer("general.quantization_version", 2);
  h.integer("general.file_type", type);
  h.integer("llama.block_count", c.layers);
  h.integer("llama.context_length", c.max_positions);
  h.integer("llama.embedding_length", c.hidden);
  h.integer("llama.feed_forward_length", c.ffn);
  h.integer("llama.attention.head_count", c.heads);
  h.integer("llama.attention.head_count_kv", c.kv_heads);
  h.integer("llama.attention.key_length", c.head_dim);
  h.integer("llama.attention.value_length", c.head_dim);
  h.real("llama.attention.layer_norm_rms_epsilon", c.norm_eps);
  h.real("llama.rope.freq_base", c.rope.theta);
  h.integer("llama.rope.dimension_count", c.head_dim);
  h.integer("llama.vocab_size", c.vocab);
  if (c.rope.kind != RopeConfig::Kind::linear) return;
  h.text("llama.rope.scaling.type", "linear");
  h.real("llama.rope.scaling.factor", c.rope.factor);
}

void check_family(const ModelConfig& c, const fs::path& model) {
  require(c.family == Family::llama, ErrorCode::unsupported, model.string(),
          "is an OPT model, llama.cpp has no OPT: GGUF is for LLaMA models");
}

// "llama-2.1" of both "models/llama-2.1/" and "llama-2.1.gguf".
std::string name_of(const fs::path& model) {
  const fs::path full = fs::weakly_canonical(model), last = full.has_filename() ? full : full.parent_path();
  return (is_gguf(last) ? last.stem() : last.filename()).string();
}

// Keeps the data of each tensor at a multiple of the alignment.
class Body {
 public:
  explicit Body(const fs::path& path) : file_(path) {}
  void write(std::span<const std::byte> bytes) {
    file_.write(bytes);
    at_ += bytes.size();
  }
  void pad() {
    constexpr std::byte kZeros[kGgufAlignment] = {};
    write(std::span(kZeros).first(std::size_t(aligned(at_, std::uint64_t(kGgufAlignment)) - at_)));
  }
  void commit() { file_.commit(); }

 private:
  AtomicWriter file_;
  std::uint64_t at_ = 0;
};

}  // namespace

void check_gguf(const ModelConfig& c, const fs::path& model) {
  check_family(c, model);
  gguf_vocabulary(model, c.vocab);
}

std::vector<GgufTensor> write_gguf(CausalLM& model, const fs::path& model_path, const fs::path& out,
                                   const GgufOptions& options) {
  const ModelConfig& c = model.config();
  check_family(c, model_path);
  const GgufVocabulary vocabulary = gguf_vocabulary(model_path, c.vocab);
  const Contents all = contents_of(model, options.type);
  const std::string name = options.name.empty() ? name_of(model_path) : options.name;
  GgufHeader header;
  add_metadata(c, name, file_type(all), header);
  header.vocabulary(vocabulary);
  for (const auto& m : all.matrices) header.tensor(*gguf_name(m.name() + ".weight"), m.type(), m.shape());
  for (const auto& v : all.vectors) header.tensor(v.name, ggml_type("F32"), v.values.shape());

  Body body(out);
  const std::string head = header.bytes();
  body.write(std::as_bytes(std::span(head)));
  std::vector<GgufTensor> report;
  for (const auto& m : all.matrices) {
    const double error = m.write([&](std::span<const std::byte> bytes) { body.write(bytes); });
    report.push_back({m.name(), std::string(m.type().name), error, GgufHeader::bytes_of(m.type(), m.shape())});
    body.pad();
  }
  for (const auto& v : all.vectors) {
    body.write(std::as_bytes(v.values.data<float>()));
    body.pad();
  }
  body.commit();
  return report;
}

}  // namespace sinter
