#include <array>

#include "models/tokenizer_steps.h"

namespace sinter {
namespace {

// GPT-2's cut into words: contractions, letters, numbers, the rest, each with the space before it; then white space.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct ByteMap {
  std::array<std::string, 256> chars;
  std::array<int, 0x144> bytes;  // by code point
  ByteMap() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool visible = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const char32_t c = visible ? static_cast<char32_t>(b) : next++;
      unicode::append(chars[static_cast<std::size_t>(b)], c);
      bytes[c] = b;
    }
  }
};

const ByteMap& byte_map() {
  static const ByteMap map;
  return map;
}

template <class Cut>
void cut_words(std::vector<std::string>& words, const Cut& cut, SplitBehavior behavior, bool invert) {
  std::vector<std::string> out;
  for (const std::string& word : words) {
    std::vector<TextSpan> spans = cut(word);
    if (invert) {
      for (TextSpan& span : spans) span.match = !span.match;
    }
    for (const TextSpan& span : split_spans(spans, behavior))
      out.push_back(word.substr(span.begin, span.end - span.begin));
  }
  words = std::move(out);
}

std::vector<TextSpan> numeric_spans(std::string_view text) {
  std::vector<TextSpan> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at + unicode::length_at(text, at);
    const bool numeric = unicode::is_numeric(unicode::decode(text.substr(at)));
    if (!numeric && !out.empty() && !out.back().match) {
      out.back().end = end;
    } else {
      out.push_back({at, end, numeric});
    }
    at = end;
  }
  return out;
}

}  // namespace

std::string_view byte_to_char(unsigned char byte) { return byte_map().chars[byte]; }

int char_to_byte(char32_t c) { return c < byte_map().bytes.size() ? byte_map().bytes[c] : -1; }

PreTokenizer byte_level(bool add_prefix_space, bool use_regex) {
  static const Regex gpt2(kGpt2Pattern, "the pattern of GPT-2");
  return [=](std::vector<std::string>& words, bool) {
    if (add_prefix_space) {
      for (std::string& word : words) {
        if (!word.starts_with(' ')) word.insert(0, " ");
      }
    }
    if (use_regex) {
      cut_words(
          words, [](std::string_view text) { return gpt2.spans(text); }, SplitBehavior::isolated, false);
    }
    for (std::string& word : words) {
      std::string mapped;
      for (const char c : word) mapped += byte_to_char(static_cast<unsigned char>(c));
      word = std::move(mapped);
    }
  };
}

PreTokenizer split_regex(Regex pattern, SplitBehavior behavior, bool invert) {
  return [=](std::vector<std::string>& words, bool) {
    cut_words(
        words, [&](std::string_view text) { return pattern.spans(text); }, behavior, invert);
  };
}

PreTokenizer split_literal(std::string pattern, SplitBehavior behavior, bool invert) {
  return [=, pattern = std::move(pattern)](std::vector<std::string>& words, bool) {
    cut_words(
        words, [&](std::string_view text) { return literal_spans(text, pattern); }, behavior, invert);
  };
}

PreTokenizer digits(bool individual) {
  const SplitBehavior behavior = individual ? SplitBehavior::isolated : SplitBehavior::contiguous;
  return [=](std::vector<std::string>& words, bool) { cut_words(words, numeric_spans, behavior, false); };
}

PreTokenizer metaspace(std::string replacement, PrependScheme scheme, bool split) {
  return [=, replacement = std::move(replacement)](std::vector<std::string>& words, bool first) {
    const Normalizer escape = replace_literal(" ", replacement);
    for (std::string& word : words) {
      const bool begins_text = first && &word == words.data();
      escape(word, begins_text);
      const bool wanted = scheme == PrependScheme::always || (scheme == PrependScheme::first && begins_text);
      if (wanted && !word.starts_with(replacement)) word.insert(0, replacement);
    }
    if (!split) return;
    cut_words(
        words, [&](std::string_view text) { return literal_spans(text, replacement); }, SplitBehavior::merged_with_next,
        false);
  };
}

}  // namespace sinter
