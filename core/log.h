#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "core/error.h"

namespace sinter {

// One step of a long loop: "compress block 3/5", with a value worth seeing (a loss, an error) and its name.
struct Progress {
  std::string_view stage;
  std::int64_t done = 0, total = 0;
  double value = 0;
  std::string_view unit{};
  double share = -1;  // of all work, where steps are unequal; -1: done / total
  struct Value {
    double value = 0;
    std::string_view unit{};  // empty: nothing
  };
  std::array<Value, 2> more{};  // also worth seeing
};

// The library reports; only apps/ prints.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void note(std::string_view text) = 0;  // worth knowing
  virtual void warn(std::string_view text) = 0;  // worth acting on
  virtual void progress(const Progress&) = 0;
  virtual bool stop_requested() const { return false; }  // Ctrl-C

  // Long loops call this between steps; it throws Error(interrupted) once the user asked to stop.
  void check_stop(std::string_view where) const {
    require(!stop_requested(), ErrorCode::interrupted, where, "interrupted");
  }
};

// For callers that want silence.
class NullLog final : public LogSink {
 public:
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  void progress(const Progress&) override {}
};

}  // namespace sinter
