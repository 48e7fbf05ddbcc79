#pragma once
#include <stdexcept>

#include "core/error.h"
#include "test/fuzz/mutate.h"

namespace sinter::fuzz {

inline void expect(bool ok, const char* what) {
  if (!ok) throw std::logic_error(what);
}

// f() went through, or refused its input as hostile input is to be refused.
template <class F>
Outcome loaded_or_refused(F&& f) {
  try {
    f();
    return Outcome::loaded;
  } catch (const Error& error) {
    expect(error.code() == ErrorCode::input, "refused with an error code other than input");
    expect(std::string_view(error.what()).size() < 1000, "the message is too long");
    return Outcome::refused;
  }
}

}  // namespace sinter::fuzz
