#pragma once
#include <chrono>
#include <functional>
#include <ostream>
#include <streambuf>
#include <string>

#include "core/log.h"

namespace sinter {

enum class ProgressStyle { none, lines, bar, json };

// What the library reports, on standard error: a bar with rate and time left, redrawn at most ten times a second; or
// plain lines, at most one in five seconds; or one JSON object per event. Jobs under two seconds draw nothing.
class ProgressLog final : public LogSink {
 public:
  using Clock = std::function<double()>;  // seconds
  ProgressLog(std::ostream& err, ProgressStyle style, bool quiet, Clock clock = steady_seconds);
  ~ProgressLog() override { clear_bar(); }
  void note(std::string_view text) override;
  void warn(std::string_view text) override;
  void progress(const Progress&) override;
  bool stop_requested() const override;
  void clear_bar();  // before anything else is written to the terminal

  static double steady_seconds();

 private:
  struct Pace {
    double rate = 0, seconds_left = -1;  // units per second; -1: unknown
  };
  Pace pace(const Progress&, double now) const;
  void draw_bar(const Progress&, const Pace&);
  void write_line(const Progress&, const Pace&);
  void write_json(const Progress&, const Pace&);

  std::ostream& err_;
  ProgressStyle style_;
  bool quiet_;
  Clock clock_;
  std::string stage_;
  double begin_, last_drawn_ = -1e9, stage_begin_ = 0, stage_share_ = 0;
  std::int64_t stage_first_ = 0, last_done_ = 0;
  bool drawn_ = false;
};

// Text for people on its way to `to` (null: nowhere); it wipes the bar first, which may be on the same terminal.
class TextBuffer final : public std::streambuf {
 public:
  TextBuffer(std::streambuf* to, ProgressLog& log) : to_(to), log_(log) {}

 private:
  int_type overflow(int_type c) override;
  std::streamsize xsputn(const char* text, std::streamsize n) override;
  int sync() override { return to_ ? to_->pubsync() : 0; }
  std::streambuf* to_;
  ProgressLog& log_;
};

}  // namespace sinter
