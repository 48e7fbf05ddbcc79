#include "models/tokenizer_steps.h"

namespace sinter {
namespace {

void replace_spans(std::string& text, const std::vector<TextSpan>& spans, std::string_view content) {
  std::string out;
  out.reserve(text.size());
  for (const TextSpan& span : spans) {
    out += span.match ? content : std::string_view(text).substr(span.begin, span.end - span.begin);
  }
  text = std::move(out);
}

// One pass over the text in the way of SentencePiece's normaliser with an identity character map.
std::string apply_spaces(std::string_view text, const SpaceRules& rules, bool prefix) {
  if (rules.remove_extra) text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  std::string out;
  if (text.empty()) return out;
  const std::string_view space = rules.escape ? unicode::kMetaspace : std::string_view(" ");
  out.reserve(text.size() + text.size() / 2);
  if (prefix) out += space;
  bool after_space = rules.remove_extra;
  for (const char c : text) {
    if (c != ' ') {
      out += c;
    } else if (!after_space) {
      out += space;
    }
    after_space = rules.remove_extra && c == ' ';
  }
  while (rules.remove_extra && out.ends_with(space)) out.erase(out.size() - space.size());
  return out;
}

}  // namespace

Normalizer prepend(std::string prefix) {
  return [prefix = std::move(prefix)](std::string& text, bool) {
    if (!text.empty()) text.insert(0, prefix);
  };
}

Normalizer replace_literal(std::string pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](std::string& text, bool) {
    replace_spans(text, literal_spans(text, pattern), content);
  };
}

Normalizer replace_regex(Regex pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](std::string& text, bool) {
    replace_spans(text, pattern.spans(text), content);
  };
}

Normalizer unicode_form(unicode::Form form) {
  return [form](std::string& text, bool) { text = unicode::normalize(text, form); };
}

Normalizer lowercase() {
  return [](std::string& text, bool) { text = unicode::lowercase(text); };
}

Normalizer strip(bool left, bool right) {
  return [=](std::string& text, bool) {
    std::size_t begin = 0, end = text.size();
    while (right && end > 0) {
      const std::size_t last = unicode::begin_of_last(std::string_view(text).substr(0, end));
      if (!unicode::is_space(unicode::decode(std::string_view(text).substr(last)))) break;
      end = last;
    }
    while (left && begin < end && unicode::is_space(unicode::decode(std::string_view(text).substr(begin)))) {
      begin += unicode::length_at(text, begin);
    }
    text = text.substr(begin, end - begin);
  };
}

Normalizer sentencepiece_spaces(SpaceRules rules) {
  return [rules](std::string& text, bool first) {
    text = apply_spaces(text, rules, rules.dummy_prefix && (first || !rules.only_first_prefix));
  };
}

}  // namespace sinter
