#include "models/interchange/gguf_pre.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/unicode.h"

namespace sinter {
namespace {

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                     R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The first kind with the same patterns and words is the one that is written.
const std::vector<PreTokenizerKind>& kinds() {
  static const std::vector<PreTokenizerKind> list = {
      {"gpt-2", {kGpt2}},
      {"llama-bpe", {kLlama3}, true, true},
      {"llama3", {kLlama3}, true, true},
      {"llama-v3", {kLlama3}, true, true},
      {"smaug-bpe", {kLlama3}},
      {"dbrx", {kLlama3}},
      {"qwen2", {kQwen2}},
      {"tekken", {kTekken}, true, true},
      {"smollm", {kDigit, kGpt2}},
      {"starcoder", {kDigit, kGpt2}},
      {"refact", {kDigit, kGpt2}},
      {"deepseek-coder", {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", "[一-龥ࠀ-一가-퟿]+", kDigit}},
      {"default", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
  };
  return list;
}

const PreTokenizerKind& kind_of(const GgufFile& f) {
  const std::string_view key = "tokenizer.ggml.pre";
  const std::string name = f.text_or(key, "default");
  const auto kind = std::ranges::find(kinds(), name, &PreTokenizerKind::name);
  if (kind != kinds().end()) return *kind;
  std::string known;
  for (const auto& k : kinds()) known += (known.empty() ? "" : ", ") + std::string(k.name);
  f.refuse(key, "one of " + known + "; use the model's Hugging Face directory");
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json pre_tokenizer_of(const PreTokenizerKind& kind) {
  if (kind.patterns == std::vector{kGpt2}) return byte_level(true);
  Json steps = Json::array();
  for (const auto& pattern : kind.patterns)
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back(byte_level(false));
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

// <s> in front of a text, in the way of the tokenizers library.
Json post_processor_of(const GgufFile& f, std::span<const std::string> tokens, bool bos) {
  Json single = Json::array(), special = Json::object();
  if (bos && f.has("tokenizer.ggml.bos_token_id") && !tokens.empty()) {
    const auto id = f.integer("tokenizer.ggml.bos_token_id", 0, std::int64_t(tokens.size()) - 1);
    const std::string& text = tokens[std::size_t(id)];
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
  }
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", Json::array()}, {"special_tokens", special}};
}

// The patterns of a pre_tokenizer section, or nothing where it does more than cut and map bytes.
bool collect_patterns(const std::string& where, const Json& section, std::vector<std::string>& out) {
  const JsonFields fields(where, section);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    const Json& list = fields.at("pretokenizers");
    if (!list.is_array()) fields.refuse("pretokenizers", "a list");
    return std::ranges::all_of(list, [&](const Json& step) { return collect_patterns(where, step, out); });
  }
  if (type == "ByteLevel") {
    if (fields.boolean_or("use_regex", true)) out.emplace_back(kGpt2);
    return !fields.boolean_or("add_prefix_space", true);
  }
  if (type == "Digits") {
    out.emplace_back(kDigit);
    return fields.boolean_or("individual_digits", false);
  }
  if (type != "Split" || fields.boolean_or("invert", false) || fields.text("behavior") != "Isolated") return false;
  const JsonFields pattern = fields.object("pattern");
  if (!pattern.has("Regex")) return false;
  out.push_back(pattern.text("Regex"));
  return true;
}

}  // namespace

bool adds_bos(const GgufFile& f) { return kind_of(f).adds_bos; }

Json byte_level_tokenizer(const GgufFile& f, std::span<const std::string> tokens, std::span<const PieceType> types) {
  const PreTokenizerKind& kind = kind_of(f);
  Json::object_t vocabulary;
  Json added = Json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool special = types[i] == PieceType::control;
    if (!special && types[i] != PieceType::user_defined) {
      vocabulary.push_back({tokens[i], i});
      continue;
    }
    added.push_back({{"id", i},
                     {"content", tokens[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", special}});
  }
  Json merges = Json::array();
  for (const std::string_view merge : f.texts("tokenizer.ggml.merges")) {
    require(unicode::is_valid(merge), ErrorCode::input, f.path(), "tokenizer.ggml.merges[", merges.size(),
            "] is not UTF-8");
    merges.push_back(merge);
  }
  const bool bos = f.boolean_or("tokenizer.ggml.add_bos_token", kind.adds_bos);
  Json model = {{"type", "BPE"}, {"byte_fallback", false}, {"ignore_merges", kind.whole_words}};
  model["vocab"] = Json(std::move(vocabulary));
  model["merges"] = std::move(merges);
  Json out = {{"version", "1.0"}, {"added_tokens", std::move(added)}, {"normalizer", nullptr}};
  out["pre_tokenizer"] = pre_tokenizer_of(kind);
  out["post_processor"] = post_processor_of(f, tokens, bos);
  out["decoder"] = byte_level(true);
  out["model"] = std::move(model);
  return out;
}

std::optional<std::string_view> pre_tokenizer_name(const Json& tokenizer, const std::string& where) {
  const JsonFields fields(where, tokenizer);
  const Json* section = fields.find("pre_tokenizer");
  std::vector<std::string> patterns;
  if (!section || !collect_patterns(where + ": pre_tokenizer", *section, patterns)) return std::nullopt;
  const bool whole_words = fields.object("model").boolean_or("ignore_merges", false);
  for (const PreTokenizerKind& kind : kinds())
    if (kind.whole_words == whole_words && std::ranges::equal(kind.patterns, patterns)) return kind.name;
  return std::nullopt;
}

}  // namespace sinter
