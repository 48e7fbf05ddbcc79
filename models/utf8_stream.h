#pragma once
#include <string>
#include <string_view>

namespace sinter {

// Turns bytes that arrive in arbitrary pieces into valid UTF-8: an incomplete character at the end waits for its rest,
// ill-formed bytes become U+FFFD. The pieces returned, put together, do not depend on how the bytes were cut.
class Utf8Stream {
 public:
  enum class Invalid { per_sequence, per_byte };  // one U+FFFD per ill-formed sequence (as Unicode advises) or per byte
  explicit Utf8Stream(Invalid invalid = Invalid::per_sequence) : invalid_(invalid) {}

  std::string push(std::string_view bytes);
  std::string flush();  // the end: what still waits can no longer become a character
  bool waiting() const { return !pending_.empty(); }

 private:
  Invalid invalid_;
  std::string pending_;  // at most 3 bytes between calls
};

}  // namespace sinter
