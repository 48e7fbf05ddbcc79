#include <doctest/doctest.h>

#include "models/unicode.h"
#include "models/utf8_stream.h"

namespace sinter {
namespace {

std::string in_pieces(std::string_view bytes, std::size_t size, Utf8Stream::Invalid invalid) {
  Utf8Stream stream(invalid);
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += size) {
    const std::string part = stream.push(bytes.substr(at, size));
    CHECK(unicode::is_valid(part));
    out += part;
  }
  return out + stream.flush();
}

TEST_CASE("A UTF-8 stream replaces ill-formed sequences as the Unicode standard recommends") {
  // Table 3-8 of the standard: one U+FFFD per maximal subpart.
  const std::string bytes = "\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64";
  CHECK(in_pieces(bytes, 100, Utf8Stream::Invalid::per_sequence) == "a\ufffd\ufffd\ufffdb\ufffdc\ufffd\ufffdd");
  CHECK(in_pieces(bytes, 100, Utf8Stream::Invalid::per_byte) ==
        "a\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdb\ufffdc\ufffd\ufffdd");
}

TEST_CASE("What a UTF-8 stream gives does not depend on how the bytes were cut") {
  std::uint32_t state = 9;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 16; };
  const std::string_view alphabet = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82\xFF\x80\xED\xA0\xF4\x90\xE0";
  for (int round = 0; round < 500; ++round) {
    std::string bytes;
    for (std::uint32_t n = next() % 24; n > 0; --n) bytes += alphabet[next() % alphabet.size()];
    for (const auto invalid : {Utf8Stream::Invalid::per_sequence, Utf8Stream::Invalid::per_byte}) {
      const std::string whole = in_pieces(bytes, 100, invalid);
      for (std::size_t size = 1; size < 4; ++size) CHECK(in_pieces(bytes, size, invalid) == whole);
    }
    CHECK(in_pieces(bytes, 1, Utf8Stream::Invalid::per_byte) == unicode::replace_invalid(bytes));
  }
}

TEST_CASE("An incomplete character waits, and ends as U+FFFD") {
  Utf8Stream stream;
  CHECK(stream.push("x\xE2\x82") == "x");
  CHECK(stream.waiting());
  CHECK(stream.push("\xAC") == "\u20ac");
  CHECK_FALSE(stream.waiting());
  CHECK(stream.push("\xF0\x9F\x99") == "");
  CHECK(stream.flush() == "\ufffd");
  CHECK(stream.flush() == "");
}

TEST_CASE("Surrogates, overlong forms and values beyond U+10FFFF are not UTF-8") {
  for (const char* bad : {"\xED\xA0\x80", "\xC0\x80", "\xE0\x80\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xFF"}) {
    CHECK_FALSE(unicode::is_valid(bad));
  }
  for (const char* good : {"\xED\x9F\xBF", "\xEE\x80\x80", "\xF4\x8F\xBF\xBF", "\xC2\x80", ""})
    CHECK(unicode::is_valid(good));
}

TEST_CASE("Characters are decoded, appended and classified") {
  for (const char32_t c : {U'a', U'\u00e9', U'\u20ac', U'\U0001F642'}) {
    std::string text;
    unicode::append(text, c);
    CHECK(unicode::decode(text) == c);
    CHECK(unicode::begin_of_last("x" + text) == 1);
  }
  CHECK(unicode::is_space(U'\u3000'));
  CHECK(unicode::is_space(U'\u0085'));
  CHECK_FALSE(unicode::is_space(U'\u180e'));
  CHECK(unicode::is_word(U'\u0301'));
  CHECK_FALSE(unicode::is_word(U'-'));
  CHECK(unicode::is_numeric(U'\u2167'));
}

}  // namespace
}  // namespace sinter
