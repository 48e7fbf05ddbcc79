#include "models/tokenizer_added.h"

#include <algorithm>

#include "models/unicode.h"

namespace sinter {
namespace {

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 && unicode::is_word(unicode::decode(text.substr(unicode::begin_of_last(text.substr(0, begin)))))) {
    return true;
  }
  return end < text.size() && unicode::is_word(unicode::decode(text.substr(end)));
}

std::size_t skip_spaces_back(std::string_view text, std::size_t from, std::size_t limit) {
  while (from > limit) {
    const std::size_t at = unicode::begin_of_last(text.substr(0, from));
    if (!unicode::is_space(unicode::decode(text.substr(at)))) break;
    from = at;
  }
  return from;
}

std::size_t skip_spaces(std::string_view text, std::size_t from) {
  while (from < text.size() && unicode::is_space(unicode::decode(text.substr(from)))) {
    from += unicode::length_at(text, from);
  }
  return from;
}

}  // namespace

void AddedTokens::add(const AddedToken& token, std::string_view content) {
  trie_.add(content, static_cast<std::int32_t>(tokens_.size()));
  tokens_.push_back(token);
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text) const {
  std::vector<Part> parts;
  std::size_t gap = 0;  // where the text not yet given out begins
  std::size_t at = 0;
  while (at < text.size() && !trie_.empty()) {
    const PrefixTrie::Found found = trie_.longest(text.substr(at));
    if (found.length == 0) {
      at += unicode::length_at(text, at);
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(found.id)];
    std::size_t begin = at, end = at + found.length;
    at = end;
    if (token.single_word && touches_word(text, begin, end)) continue;
    if (token.lstrip) begin = skip_spaces_back(text, begin, gap);
    if (token.rstrip) end = skip_spaces(text, end);
    begin = std::max(begin, gap);
    if (begin > gap) parts.push_back({gap, begin, std::nullopt});
    parts.push_back({begin, end, token.id});
    gap = end;
    at = std::max(at, gap);
  }
  if (gap < text.size()) parts.push_back({gap, text.size(), std::nullopt});
  return parts;
}

}  // namespace sinter
