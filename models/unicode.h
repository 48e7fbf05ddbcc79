#pragma once
#include <cstddef>
#include <string>
#include <string_view>

// UTF-8 and the few facts about characters that tokenizers depend on.
namespace sinter::unicode {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
inline constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581, the visible space of SentencePiece

enum class Utf8 { valid, partial, invalid };
struct Utf8Char {
  Utf8 kind;
  std::size_t
      length;  // valid: of the character; partial: all that is there; invalid: the longest ill-formed part (>= 1)
};
// Looks at the start of `text`, which is not empty. partial: `text` ends before the character does.
Utf8Char scan(std::string_view text);

bool is_valid(std::string_view text);
std::string replace_invalid(std::string_view text);  // each byte outside a well-formed character becomes U+FFFD

// The functions below expect valid UTF-8.
inline std::size_t length_at(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}
std::size_t begin_of_last(std::string_view text);  // where the last character of a non-empty text starts
char32_t decode(std::string_view text);  // the first character of a non-empty text
void append(std::string& out, char32_t character);

bool is_space(char32_t c);  // White_Space
bool is_word(char32_t c);  // letters, marks, numbers, connectors: \w
bool is_numeric(char32_t c);  // categories Nd, Nl, No

enum class Form { nfc, nfd, nfkc, nfkd };
std::string normalize(std::string_view text, Form form);
std::string lowercase(std::string_view text);

}  // namespace sinter::unicode
