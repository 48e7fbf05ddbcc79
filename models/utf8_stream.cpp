#include "models/utf8_stream.h"

#include "models/unicode.h"

namespace sinter {

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const unicode::Utf8Char c = unicode::scan(rest);
    if (c.kind == unicode::Utf8::partial) break;
    const bool valid = c.kind == unicode::Utf8::valid;
    const std::size_t taken = valid || invalid_ == Invalid::per_sequence ? c.length : 1;
    out += valid ? rest.substr(0, taken) : unicode::kReplacement;
    rest.remove_prefix(taken);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out;
}

std::string Utf8Stream::flush() {
  const std::size_t count = invalid_ == Invalid::per_byte ? pending_.size() : pending_.empty() ? 0 : 1;
  pending_.clear();
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += unicode::kReplacement;
  return out;
}

}  // namespace sinter
