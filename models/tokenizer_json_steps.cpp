#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/tokenizer_json.h"

namespace sinter {
namespace {

// Calls read(where, element) for each element of the list `key`. Nesting is bounded by the reader of JSON.
template <class Read>
void each_of(const std::string& where, const JsonFields& fields, std::string_view key, const Read& read) {
  const Json& list = fields.at(key);
  if (!list.is_array()) fields.refuse(key, "a list");
  for (std::size_t i = 0; i < list.size(); ++i) {
    read(where + "." + std::string(key) + "[" + std::to_string(i) + "]", list[i]);
  }
}

struct Pattern {
  std::string literal;
  std::optional<Regex> regex;
};

// {"String": literal} or {"Regex": expression}
Pattern read_pattern(const std::string& where, const JsonFields& fields) {
  const JsonFields pattern = fields.object("pattern");
  if (pattern.has("String")) return {pattern.text("String"), std::nullopt};
  if (!pattern.has("Regex")) fields.refuse("pattern", "an object with String or Regex");
  return {"", Regex(pattern.text("Regex"), where + ".pattern.Regex")};
}

Normalizer read_replace(const std::string& where, const JsonFields& fields) {
  Pattern pattern = read_pattern(where, fields);
  std::string content = fields.text("content");
  if (pattern.regex) return replace_regex(*pattern.regex, std::move(content));
  return replace_literal(std::move(pattern.literal), std::move(content));
}

SplitBehavior read_behavior(const JsonFields& fields) {
  const std::string name = fields.text("behavior");
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name != "Contiguous")
    fields.refuse("behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
  return SplitBehavior::contiguous;
}

PreTokenizer read_split(const std::string& where, const JsonFields& fields) {
  Pattern pattern = read_pattern(where, fields);
  const SplitBehavior behavior = read_behavior(fields);
  const bool invert = fields.boolean_or("invert", false);
  if (pattern.regex) return split_regex(*pattern.regex, behavior, invert);
  return split_literal(std::move(pattern.literal), behavior, invert);
}

// Older files say add_prefix_space instead of prepend_scheme.
PrependScheme read_scheme(const JsonFields& fields) {
  const std::string fallback = fields.boolean_or("add_prefix_space", true) ? "always" : "never";
  const std::string name = fields.text_or("prepend_scheme", fallback);
  if (name == "always") return PrependScheme::always;
  if (name == "first") return PrependScheme::first;
  if (name != "never") fields.refuse("prepend_scheme", "always, first or never");
  return PrependScheme::never;
}

std::int32_t template_id(const std::string& where, const JsonFields& special, const JsonFields& fields,
                         const TokenizerParts& parts) {
  const std::string name = special.text("id");
  const JsonFields known = fields.object("special_tokens").object(name);
  const auto ids =
      known.integers("ids", 0, parts.pieces.empty() ? 0 : static_cast<std::int64_t>(parts.pieces.size()) - 1);
  require(ids.size() == 1, ErrorCode::input, where, "special token '", name, "' has ", ids.size(), " ids, expected 1");
  return static_cast<std::int32_t>(ids[0]);
}

void read_template(const std::string& where, const JsonFields& fields, TokenizerParts& parts) {
  int sequences = 0;
  each_of(where, fields, "single", [&](const std::string& at, const Json& element) {
    const JsonFields item(at, element);
    if (item.has("Sequence")) {
      ++sequences;
    } else {
      auto& around = sequences == 0 ? parts.before : parts.after;
      around.push_back(template_id(at, item.object("SpecialToken"), fields, parts));
    }
  });
  if (sequences != 1) fields.refuse("single", "a list with one Sequence");
}

}  // namespace

void read_normalizer(const std::string& where, const Json& section, std::vector<Normalizer>& out) {
  const JsonFields fields(where, section);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    each_of(where, fields, "normalizers",
            [&](const std::string& at, const Json& element) { read_normalizer(at, element, out); });
  } else if (type == "Prepend") {
    out.push_back(prepend(fields.text("prepend")));
  } else if (type == "Replace") {
    out.push_back(read_replace(where, fields));
  } else if (type == "NFC") {
    out.push_back(unicode_form(unicode::Form::nfc));
  } else if (type == "NFD") {
    out.push_back(unicode_form(unicode::Form::nfd));
  } else if (type == "NFKC") {
    out.push_back(unicode_form(unicode::Form::nfkc));
  } else if (type == "NFKD") {
    out.push_back(unicode_form(unicode::Form::nfkd));
  } else if (type == "Lowercase") {
    out.push_back(lowercase());
  } else if (type == "Strip") {
    out.push_back(strip(fields.boolean_or("strip_left", true), fields.boolean_or("strip_right", true)));
  } else {
    fields.refuse("type", "Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase or Strip");
  }
}

void read_pre_tokenizer(const std::string& where, const Json& section, std::vector<PreTokenizer>& out) {
  const JsonFields fields(where, section);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    each_of(where, fields, "pretokenizers",
            [&](const std::string& at, const Json& element) { read_pre_tokenizer(at, element, out); });
  } else if (type == "ByteLevel") {
    out.push_back(byte_level(fields.boolean_or("add_prefix_space", true), fields.boolean_or("use_regex", true)));
  } else if (type == "Split") {
    out.push_back(read_split(where, fields));
  } else if (type == "Digits") {
    out.push_back(digits(fields.boolean_or("individual_digits", false)));
  } else if (type == "Metaspace") {
    out.push_back(metaspace(fields.text_or("replacement", unicode::kMetaspace), read_scheme(fields),
                            fields.boolean_or("split", true)));
  } else {
    fields.refuse("type", "Sequence, ByteLevel, Split, Digits or Metaspace");
  }
}

void read_post_processor(const std::string& where, const Json& section, TokenizerParts& parts) {
  const JsonFields fields(where, section);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    each_of(where, fields, "processors",
            [&](const std::string& at, const Json& element) { read_post_processor(at, element, parts); });
  } else if (type == "TemplateProcessing") {
    read_template(where, fields, parts);
  } else if (type != "ByteLevel") {  // which only moves offsets
    fields.refuse("type", "Sequence, TemplateProcessing or ByteLevel");
  }
}

void read_decoder(const std::string& where, const Json& section, bool& fused, std::vector<DecodeStageFactory>& out) {
  const JsonFields fields(where, section);
  const std::string type = fields.text("type");
  if (fused && type != "Strip" && type != "Fuse" && type != "Sequence") {
    fields.refuse("type", "Strip after Fuse or ByteLevel, as the tokens are one text there");
  }
  if (type == "Sequence") {
    each_of(where, fields, "decoders",
            [&](const std::string& at, const Json& element) { read_decoder(at, element, fused, out); });
  } else if (type == "Replace") {
    out.push_back(decode_replace(read_replace(where, fields)));
  } else if (type == "ByteFallback") {
    out.push_back(decode_byte_fallback());
  } else if (type == "Fuse") {
    fused = true;
  } else if (type == "ByteLevel") {
    out.push_back(decode_byte_level());
    fused = true;
  } else if (type == "Metaspace") {
    const bool drop_first = read_scheme(fields) != PrependScheme::never;
    out.push_back(decode_metaspace(fields.text_or("replacement", unicode::kMetaspace), drop_first));
  } else if (type == "Strip") {
    const auto start = fields.integer_or("start", 0, 0, 1 << 20), stop = fields.integer_or("stop", 0, 0, 1 << 20);
    const std::string content = fields.text("content");
    if (content.empty() || unicode::length_at(content, 0) != content.size()) fields.refuse("content", "one character");
    out.push_back(decode_strip(content, static_cast<std::size_t>(start), static_cast<std::size_t>(stop), fused));
  } else {
    fields.refuse("type", "Sequence, Replace, ByteFallback, Fuse, ByteLevel, Metaspace or Strip");
  }
}

}  // namespace sinter
