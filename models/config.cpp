#include "models/config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "models/interchange/gguf.h"

namespace sinter {
namespace {

constexpr std::int64_t kMaxWidth = 1 << 20, kMaxVocab = 1 << 24, kMaxLayers = 4096;

std::vector<std::int32_t> id_list(const JsonFields& f, std::string_view key) {
  std::vector<std::int32_t> ids;
  if (f.has(key))
    for (auto i : f.integers(key, -1, kMaxVocab))
      if (i >= 0) ids.push_back(std::int32_t(i));
  return ids;
}

std::int32_t one_id(const JsonFields& f, std::string_view key, std::int32_t fallback) {
  if (!f.has(key)) return fallback;
  const auto ids = id_list(f, key);
  return ids.empty() ? -1 : ids.front();
}

// Beyond these bounds f32 frequencies overflow.
bool is_scale(double v) { return 1e-15 <= v && v <= 1e15; }
constexpr const char* kScale = "a number from 1e-15 to 1e15";

// v4 files keep theta at the top and the scaling in rope_scaling; v5 files keep both in rope_parameters, which wins.
RopeConfig parse_rope(const JsonFields& f) {
  RopeConfig r;
  r.theta = f.number_or("rope_theta", 10000);
  const char* key = f.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (f.has(key)) {
    const JsonFields s = f.object(key);
    r.theta = s.number_or("rope_theta", r.theta);
    const std::string kind = s.text_or("rope_type", s.text_or("type", "default"));
    if (kind == "linear" || kind == "llama3") r.factor = s.number("factor");
    if (kind == "linear") r.kind = RopeConfig::Kind::linear;
    else if (kind == "llama3") {
      r.kind = RopeConfig::Kind::llama3;
      r.low_freq_factor = s.number("low_freq_factor");
      r.high_freq_factor = s.number("high_freq_factor");
      r.original_positions = s.integer("original_max_position_embeddings", 1, kMaxVocab);
      if (!(r.high_freq_factor > r.low_freq_factor && r.low_freq_factor > 0))
        s.refuse("high_freq_factor", "a number above low_freq_factor, both positive");
    } else if (kind != "default") {
      s.refuse(s.has("rope_type") ? "rope_type" : "type", "default, linear or llama3");
    }
    if (!is_scale(r.factor)) s.refuse("factor", kScale);
  }
  if (!is_scale(r.theta)) f.refuse(f.has("rope_theta") ? "rope_theta" : key, kScale);
  return r;
}

void parse_llama(const JsonFields& f, ModelConfig& c) {
  c.family = Family::llama;
  c.vocab = f.integer_or("vocab_size", 32000, 1, kMaxVocab);
  c.hidden = c.word_width = f.integer_or("hidden_size", 4096, 1, kMaxWidth);
  c.ffn = f.integer_or("intermediate_size", 11008, 1, kMaxWidth);
  c.layers = f.integer_or("num_hidden_layers", 32, 1, kMaxLayers);
  c.heads = f.integer_or("num_attention_heads", 32, 1, kMaxWidth);
  c.kv_heads = f.integer_or("num_key_value_heads", c.heads, 1, kMaxWidth);
  if (!f.has("head_dim") && c.hidden % c.heads != 0)
    f.refuse("num_attention_heads", "a divisor of hidden_size " + std::to_string(c.hidden));
  c.head_dim = f.integer_or("head_dim", c.hidden / c.heads, 1, kMaxWidth);
  if (c.heads % c.kv_heads != 0)
    f.refuse("num_key_value_heads", "a divisor of num_attention_heads " + std::to_string(c.heads));
  if (c.head_dim % 2 != 0) f.refuse(f.has("head_dim") ? "head_dim" : "hidden_size", "an even width per head");
  if (f.text_or("hidden_act", "silu") != "silu") f.refuse("hidden_act", "silu");
  c.max_positions =
      f.integer_or("max_position_embeddings", f.integer_or("max_sequence_length", 2048, 1, kMaxVocab), 1, kMaxVocab);
  c.norm_eps = f.number_or("rms_norm_eps", 1e-6);
  c.tied = f.boolean_or("tie_word_embeddings", false);
  c.attention_bias = f.boolean_or("attention_bias", false);
  c.mlp_bias = f.boolean_or("mlp_bias", false);
  c.rope = parse_rope(f);
  c.bos = one_id(f, "bos_token_id", 1);
  c.eos = f.has("eos_token_id") ? id_list(f, "eos_token_id") : std::vector<std::int32_t>{2};
}

void parse_opt(const JsonFields& f, ModelConfig& c) {
  c.family = Family::opt;
  c.vocab = f.integer_or("vocab_size", 50272, 1, kMaxVocab);
  c.hidden = f.integer_or("hidden_size", f.integer_or("d_model", 768, 1, kMaxWidth), 1, kMaxWidth);
  c.ffn = f.integer_or("ffn_dim", 3072, 1, kMaxWidth);
  c.layers = f.integer_or("num_hidden_layers", 12, 1, kMaxLayers);
  c.heads = c.kv_heads = f.integer_or("num_attention_heads", 12, 1, kMaxWidth);
  if (c.hidden % c.heads != 0) f.refuse("num_attention_heads", "a divisor of hidden_size " + std::to_string(c.hidden));
  c.head_dim = c.hidden / c.heads;
  c.max_positions = f.integer_or("max_position_embeddings", 2048, 1, kMaxVocab);
  c.word_width = f.integer_or("word_embed_proj_dim", c.hidden, 1, kMaxWidth);
  c.pre_norm = f.boolean_or("do_layer_norm_before", true);
  c.final_norm = c.pre_norm && !f.boolean_or("_remove_final_layer_norm", false);
  const std::string act = f.text_or("activation_function", "relu");
  if (act != "relu" && act != "gelu") f.refuse("activation_function", "relu or gelu");
  c.activation = act == "relu" ? Activation::relu : Activation::gelu;
  if (!f.boolean_or("layer_norm_elementwise_affine", true)) f.refuse("layer_norm_elementwise_affine", "true");
  c.attention_bias = c.mlp_bias = f.boolean_or("enable_bias", true);
  c.tied = f.boolean_or("tie_word_embeddings", true);
  c.bos = one_id(f, "bos_token_id", 2);
  c.eos = f.has("eos_token_id") ? id_list(f, "eos_token_id") : std::vector<std::int32_t>{2};
}

}  // namespace

ModelConfig parse_config(const Json& json, std::string_view where) {
  const JsonFields f(where, json);
  ModelConfig c;
  const std::string type = f.text("model_type");
  if (type == "llama") parse_llama(f, c);
  else if (type == "opt") parse_opt(f, c);
  else f.refuse("model_type", "llama or opt");
  if (!(c.norm_eps > 0)) f.refuse("rms_norm_eps", "a positive number");
  c.pad = one_id(f, "pad_token_id", c.family == Family::opt ? 1 : -1);
  return c;
}

Json read_config_json(const std::filesystem::path& model) {
  return is_gguf(model) ? gguf_config(model) : read_json(model / "config.json");
}

ModelConfig read_config(const std::filesystem::path& dir) {
  if (is_gguf(dir)) return parse_config(gguf_config(dir), dir.string());
  require(std::filesystem::is_directory(dir), ErrorCode::input, dir.string(), "is not a model directory");
  const auto path = dir / "config.json";
  ModelConfig c = parse_config(read_json(path), path.string());
  const auto generation = dir / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const Json json = read_json(generation);
    const JsonFields f(generation.string(), json);
    c.bos = one_id(f, "bos_token_id", c.bos);
    if (f.has("eos_token_id")) c.eos = id_list(f, "eos_token_id");
    c.pad = one_id(f, "pad_token_id", c.pad);
    c.suppressed = id_list(f, "suppress_tokens");
  }
  return c;
}

// θ_i = theta^(−2i/d); linear: θ_i / factor; llama3: long wavelengths / factor, short ones kept, a ramp between.
std::vector<float> rope_frequencies(const ModelConfig& c) {
  const RopeConfig& r = c.rope;
  std::vector<float> inv(std::size_t(c.head_dim / 2));
  for (std::size_t i = 0; i < inv.size(); ++i) {
    const float exponent = float(2 * i) / float(c.head_dim);
    float f = 1.0f / float(std::pow(float(r.theta), exponent));
    if (r.kind == RopeConfig::Kind::linear) f = float(f / r.factor);
    if (r.kind == RopeConfig::Kind::llama3) {
      const double wave = 2 * std::numbers::pi / f, old = double(r.original_positions);
      if (wave > old / r.low_freq_factor) f = float(f / r.factor);
      else if (wave >= old / r.high_freq_factor) {
        const double s = (old / wave - r.low_freq_factor) / (r.high_freq_factor - r.low_freq_factor);
        f = float((1 - s) * f / r.factor + s * f);
      }
    }
    inv[i] = f;
  }
  return inv;
}

}  // namespace sinter
