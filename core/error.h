#pragma once
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sinter {

// usage: the caller asked for something that cannot be (exit code 2).
// input: a file is missing, truncated, hostile or does not match (exit code 3).
// interrupted: the user asked to stop (exit code 130). Everything else ends with exit code 1.
enum class ErrorCode { usage, input, shape, dtype, device, unsupported, out_of_memory, io, numeric, tape, interrupted };

// The one exception type. `where` names the operation, file or tensor the user knows.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string_view where, const std::string& what)
      : std::runtime_error(std::string(where) + ": " + what), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

template <class... Parts>
[[noreturn]] void fail(ErrorCode code, std::string_view where, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(code, where, text.str());
}

// Parts are formatted only on failure, so a check costs one branch.
template <class... Parts>
void require(bool ok, ErrorCode code, std::string_view where, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail(code, where, parts...);
}

}  // namespace sinter
