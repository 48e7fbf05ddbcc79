#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/regex_split.h"
#include "models/unicode.h"

// The steps that a text takes before it reaches the model: normalisers rewrite it, pre-tokenisers cut it into words.
// Names and behaviour are those of a tokenizer.json; all of them take and give valid UTF-8.
namespace sinter {

// `first`: this part of the text is its very beginning (no added token stands before it).
using Normalizer = std::function<void(std::string& text, bool first)>;
using PreTokenizer = std::function<void(std::vector<std::string>& words, bool first)>;

Normalizer prepend(std::string prefix);  // not to an empty text
Normalizer replace_literal(std::string pattern, std::string content);
Normalizer replace_regex(Regex pattern, std::string content);
Normalizer unicode_form(unicode::Form form);
Normalizer lowercase();
Normalizer strip(bool left, bool right);

// NormalizerSpec of a SentencePiece model.
struct SpaceRules {
  bool dummy_prefix = true;  // a space before the text
  bool only_first_prefix = false;  // and not before the parts that follow an added token
  bool remove_extra = true;  // collapse runs of spaces, strip both ends
  bool escape = true;  // space -> U+2581
};
Normalizer sentencepiece_spaces(SpaceRules rules);

PreTokenizer byte_level(bool add_prefix_space, bool use_regex);
PreTokenizer split_regex(Regex pattern, SplitBehavior behavior, bool invert);
PreTokenizer split_literal(std::string pattern, SplitBehavior behavior, bool invert);
PreTokenizer digits(bool individual);
enum class PrependScheme { always, first, never };
PreTokenizer metaspace(std::string replacement, PrependScheme scheme, bool split);

// Byte-level tokenizers write bytes as visible characters: 33..126, 161..172 and 174..255 as themselves, the other 68
// bytes, in order, as U+0100, U+0101, ...
std::string_view byte_to_char(unsigned char byte);
int char_to_byte(char32_t c);  // -1: stands for no byte

}  // namespace sinter
