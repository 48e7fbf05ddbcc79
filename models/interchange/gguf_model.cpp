// The small files of a Hugging Face directory, from the metadata of a GGUF file.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/config.h"
#include "models/interchange/gguf.h"
#include "models/interchange/gguf_file.h"
#include "models/interchange/gguf_layout.h"
#include "models/interchange/gguf_pre.h"
#include "models/sentencepiece_model.h"
#include "models/unicode.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMost = 1 << 24;

// 1e-05f is meant, not its neighbour 9.9999997e-06 among the doubles.
double shortest(float value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  double out = value;
  std::from_chars(text, end, out);
  return out;
}

double number_or(const GgufFile& f, std::string_view key, double fallback) {
  return f.has(key) ? shortest(float(f.number(key))) : fallback;
}

bool has_tensor(const GgufFile& f, std::string_view name) { return f.tensors().contains(name); }

// What the factors of rope_freqs.weight (frequency i is divided by factor i) are in terms of the rule of LLaMA 3, which
// all its models use with low_freq_factor 1 and high_freq_factor 4.
Json llama3_scaling(const GgufFile& f, double theta, std::int64_t head_dim) {
  const auto& t = f.tensors().find(kGgufRopeFactors)->second;
  require(t.type->name == "F32" && t.shape == Shape{head_dim / 2}, ErrorCode::input, f.path(), "tensor ",
          kGgufRopeFactors, " has type ", t.type->name, " and shape ", t.shape, ", expected F32 [", head_dim / 2, "]");
  std::vector<float> factors(std::size_t(head_dim / 2));
  std::memcpy(factors.data(), t.data, t.bytes);
  ModelConfig plain;
  plain.head_dim = head_dim;
  plain.rope.theta = theta;
  const auto base = rope_frequencies(plain);
  ModelConfig scaled = plain;
  scaled.rope = {RopeConfig::Kind::llama3, theta, *std::ranges::max_element(factors), 1, 4, 0};
  for (std::int64_t original = 1 << 4; original <= 1 << 20; original *= 2) {
    scaled.rope.original_positions = original;
    const auto wanted = rope_frequencies(scaled);
    bool same = true;
    for (std::size_t i = 0; i < base.size(); ++i) same = same && std::abs(base[i] / factors[i] / wanted[i] - 1) < 1e-5f;
    if (same)
      return {{"rope_type", "llama3"},
              {"factor", scaled.rope.factor},
              {"low_freq_factor", 1.0},
              {"high_freq_factor", 4.0},
              {"original_max_position_embeddings", original}};
  }
  fail(ErrorCode::input, f.path(), "tensor ", kGgufRopeFactors, " holds factors that are not those of LLaMA 3");
}

Json rope_scaling(const GgufFile& f, double theta, std::int64_t head_dim) {
  const std::string_view type = "llama.rope.scaling.type";
  const std::string kind = f.text_or(type, f.has("llama.rope.scale_linear") ? "linear" : "none");
  if (kind != "none" && kind != "linear") f.refuse(type, "none or linear");
  const bool linear = kind == "linear", factors = has_tensor(f, kGgufRopeFactors);
  require(!linear || !factors, ErrorCode::input, f.path(), "has both linear scaling and ", kGgufRopeFactors);
  if (factors) return llama3_scaling(f, theta, head_dim);
  if (!linear) return nullptr;
  const std::string_view key = f.has(type) ? "llama.rope.scaling.factor" : "llama.rope.scale_linear";
  return {{"rope_type", "linear"}, {"factor", shortest(float(f.number(key)))}};
}

std::optional<std::int64_t> token_id(const GgufFile& f, const char* name) {
  const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
  if (!f.has(key)) return std::nullopt;
  const std::int64_t id = f.integer(key, 0, 0xffffffff);
  return id < kMost ? std::optional(id) : std::nullopt;  // 2^32 - 1 means none
}

Json config_of(const GgufFile& f) {
  if (f.text("general.architecture") != "llama") f.refuse("general.architecture", "llama");
  require(f.integer_or("split.count", 1, 0, 1 << 16) <= 1, ErrorCode::input, f.path(),
          "is one part of several: join them with llama-gguf-split --merge");
  if (f.has("llama.expert_count")) f.integer("llama.expert_count", 0, 0);
  const auto count = [&](const char* key) { return f.integer(std::string("llama.") + key, 1, kMost); };
  const std::int64_t hidden = count("embedding_length"), heads = count("attention.head_count");
  const std::int64_t head_dim = f.integer_or("llama.attention.key_length", hidden / heads, 1, kMost);
  if (f.has("llama.attention.value_length")) f.integer("llama.attention.value_length", head_dim, head_dim);
  if (f.has("llama.rope.dimension_count")) f.integer("llama.rope.dimension_count", head_dim, head_dim);
  const double theta = number_or(f, "llama.rope.freq_base", 10000);
  if (!(theta > 0)) f.refuse("llama.rope.freq_base", "a positive number");
  const auto embedding = f.tensors().find("token_embd.weight");
  require(embedding != f.tensors().end() && embedding->second.shape.rank() == 2, ErrorCode::input, f.path(),
          "tensor token_embd.weight is missing or no matrix");
  Json eos = Json::array();
  for (const char* name : {"eos", "eot"})
    if (const auto id = token_id(f, name); id && (eos.empty() || eos[0] != *id)) eos.push_back(*id);
  const auto bos = token_id(f, "bos"), pad = token_id(f, "padding");
  Json c = {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"vocab_size", embedding->second.shape[0]},
            {"hidden_size", hidden},
            {"intermediate_size", count("feed_forward_length")},
            {"num_hidden_layers", count("block_count")},
            {"num_attention_heads", heads},
            {"num_key_value_heads", f.integer_or("llama.attention.head_count_kv", heads, 1, kMost)},
            {"head_dim", head_dim},
            {"hidden_act", "silu"},
            {"max_position_embeddings", count("context_length")},
            {"rms_norm_eps", shortest(float(f.number("llama.attention.layer_norm_rms_epsilon")))},
            {"rope_theta", theta},
            {"rope_scaling", rope_scaling(f, theta, head_dim)},
            {"tie_word_embeddings", !has_tensor(f, "output.weight")},
            {"attention_bias", has_tensor(f, "blk.0.attn_q.bias")},
            {"mlp_bias", has_tensor(f, "blk.0.ffn_up.bias")},
            {"bos_token_id", bos ? Json(*bos) : Json(-1)},
            {"eos_token_id", eos.empty() ? Json(-1) : eos}};
  if (pad) c["pad_token_id"] = *pad;
  return c;
}

struct Tokens {
  std::vector<std::string> texts;
  std::vector<PieceType> types;
};

Tokens tokens_of(const GgufFile& f) {
  Tokens t;
  for (const std::string_view raw : f.texts("tokenizer.ggml.tokens")) {
    const std::string number = std::to_string(t.texts.size());
    require(unicode::is_valid(raw), ErrorCode::input, f.path(), "tokenizer.ggml.tokens[", number, "] is not UTF-8");
    t.texts.push_back(raw.empty() ? "[EMPTY_" + number + "]" : std::string(raw));
  }
  t.types.assign(t.texts.size(), PieceType::normal);
  if (!f.has("tokenizer.ggml.token_type")) return t;
  const auto types = f.integers("tokenizer.ggml.token_type");
  require(types.size() == t.texts.size(), ErrorCode::input, f.path(), "tokenizer.ggml.token_type has ", types.size(),
          " entries for ", t.texts.size(), " tokens");
  for (std::size_t i = 0; i < types.size(); ++i)
    if (types[i] >= 1 && types[i] <= 6) t.types[i] = PieceType(types[i]);
  return t;
}

Json tokenizer_config_of(const GgufFile& f, const Tokens& tokens, bool sentencepiece) {
  const bool prefix = f.boolean_or("tokenizer.ggml.add_space_prefix", sentencepiece);
  Json c = {{"tokenizer_class", sentencepiece ? "LlamaTokenizer" : "PreTrainedTokenizerFast"},
            {"add_bos_token", f.boolean_or("tokenizer.ggml.add_bos_token", sentencepiece || adds_bos(f))},
            {"add_eos_token", f.boolean_or("tokenizer.ggml.add_eos_token", false)}};
  const std::pair<const char*, const char*> names[] = {
      {"bos", "bos_token"}, {"eos", "eos_token"}, {"unknown", "unk_token"}, {"padding", "pad_token"}};
  for (const auto& [key, name] : names)
    if (const auto id = token_id(f, key); id && std::size_t(*id) < tokens.texts.size())
      c[name] = tokens.texts[std::size_t(*id)];
  if (!c.contains("bos_token")) c["add_bos_token"] = false;
  if (!c.contains("eos_token")) c["add_eos_token"] = false;
  if (sentencepiece) {
    c["legacy"] = prefix;  // the newer rule differs from llama.cpp's behind special tokens
    c["add_prefix_space"] = prefix;
    Json added = Json::object();
    for (std::size_t i = 0; i < tokens.texts.size(); ++i)
      if (tokens.types[i] == PieceType::control)
        added[std::to_string(i)] = {{"content", tokens.texts[i]}, {"special", true}};
    c["added_tokens_decoder"] = std::move(added);
  }
  if (f.has("tokenizer.chat_template")) c["chat_template"] = f.text("tokenizer.chat_template");
  return c;
}

std::string sentencepiece_of(const GgufFile& f, const Tokens& tokens) {
  const auto scores = f.numbers("tokenizer.ggml.scores");
  require(scores.size() == tokens.texts.size(), ErrorCode::input, f.path(), "tokenizer.ggml.scores has ", scores.size(),
          " entries for ", tokens.texts.size(), " tokens");
  SentencePieceModel m;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    m.pieces.push_back({tokens.texts[i], scores[i], tokens.types[i]});
    bytes += tokens.types[i] == PieceType::byte;
    if (tokens.types[i] != PieceType::user_defined) continue;
    replace_literal(" ", std::string(unicode::kMetaspace))(m.pieces.back().text, false);
  }
  const auto name = [&](const char* key, std::string& to) {
    if (const auto id = token_id(f, key); id && std::size_t(*id) < tokens.texts.size())
      to = tokens.texts[std::size_t(*id)];
  };
  name("bos", m.bos);
  name("eos", m.eos);
  name("padding", m.pad);
  m.byte_fallback = bytes == 256;
  m.spaces = {.dummy_prefix = f.boolean_or("tokenizer.ggml.add_space_prefix", true), .remove_extra = false};
  return sentencepiece_bytes(m);
}

}  // namespace

bool is_gguf(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  if (path.extension() == ".gguf") return true;
  std::ifstream in(path, std::ios::binary);
  char magic[kGgufMagic.size()] = {};
  return in.read(magic, sizeof magic) && std::string_view(magic, sizeof magic) == kGgufMagic;
}

Json gguf_config(const fs::path& path) { return config_of(GgufFile(path)); }

GgufTokenizer gguf_tokenizer(const fs::path& path) {
  const GgufFile f(path);
  const std::string kind = f.text("tokenizer.ggml.model");
  if (kind != "llama" && kind != "gpt2") f.refuse("tokenizer.ggml.model", "llama or gpt2");
  const bool sentencepiece = kind == "llama";
  const Tokens tokens = tokens_of(f);
  const std::string config = json_text(tokenizer_config_of(f, tokens, sentencepiece));
  if (sentencepiece) return {"tokenizer.model", sentencepiece_of(f, tokens), config};
  return {"tokenizer.json", json_text(byte_level_tokenizer(f, tokens.texts, tokens.types)), config};
}

}  // namespace sinter
