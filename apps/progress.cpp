#include "apps/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/interrupt.h"
#include "core/json.h"

namespace sinter {
namespace {

constexpr double kShortJob = 2, kBarPause = 0.1, kLinePause = 5;
constexpr int kBarWidth = 24;

std::string duration(double seconds) {
  const auto s = std::int64_t(std::ceil(seconds));
  char text[40];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%lldh%02lldm", static_cast<long long>(s / 3600),
                  static_cast<long long>(s / 60 % 60));
  else std::snprintf(text, sizeof text, "%lld:%02lld", static_cast<long long>(s / 60), static_cast<long long>(s % 60));
  return text;
}

// "  loss 2.31"
std::string value_text(double value, std::string_view unit) {
  char text[40];
  if (unit.empty()) return "";
  std::snprintf(text, sizeof text, value >= 1e4 && value < 1e9 ? " %.0f" : " %.4g", value);
  return "  " + std::string(unit) + text;
}

// " 3/5  loss 2.31  1.2/s  tokens/s 512  validation 2.28  0:12 left"
std::string facts(const Progress& p, double rate, double seconds_left) {
  char text[80];
  std::string line = " " + std::to_string(p.done) + "/" + std::to_string(p.total) + value_text(p.value, p.unit);
  if (rate > 0) {
    std::snprintf(text, sizeof text, rate >= 0.1 ? "  %.3g/s" : "  %.3g s each", rate >= 0.1 ? rate : 1 / rate);
    line += text;
  }
  for (const auto& v : p.more) line += value_text(v.value, v.unit);
  return seconds_left < 0 ? line : line + "  " + duration(seconds_left) + " left";
}

}  // namespace

double ProgressLog::steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

ProgressLog::ProgressLog(std::ostream& err, ProgressStyle style, bool quiet, Clock clock)
    : err_(err), style_(style), quiet_(quiet), clock_(std::move(clock)), begin_(clock_()) {}

void ProgressLog::note(std::string_view text) {
  if (quiet_) return;
  clear_bar();
  if (style_ == ProgressStyle::json)
    err_ << Json{{"note", text}}.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  else err_ << text << '\n';
  err_.flush();
}

void ProgressLog::warn(std::string_view text) {
  clear_bar();
  if (style_ == ProgressStyle::json)
    err_ << Json{{"warning", text}}.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  else err_ << "sinter: warning: " << text << '\n';
  err_.flush();
}

bool ProgressLog::stop_requested() const { return interrupted(); }

void ProgressLog::progress(const Progress& p) {
  if (style_ == ProgressStyle::none || quiet_) return;
  const double now = clock_();
  const bool fresh = p.stage != stage_ || p.done < last_done_;
  if (fresh) {
    stage_ = p.stage;
    stage_begin_ = now;
    stage_first_ = p.done;
    stage_share_ = p.share;
  }
  last_done_ = p.done;
  const bool last = p.done >= p.total;
  const double pause = style_ == ProgressStyle::lines ? kLinePause : kBarPause;
  if (style_ != ProgressStyle::json && now - begin_ < kShortJob) return;
  if (!last && now - last_drawn_ < pause) return;
  last_drawn_ = now;
  const Pace at = pace(p, now);
  if (style_ == ProgressStyle::bar) draw_bar(p, at);
  else if (style_ == ProgressStyle::json) write_json(p, at);
  else write_line(p, at);
  err_.flush();
}

// From the first report of a stage on: what came before it is not known.
ProgressLog::Pace ProgressLog::pace(const Progress& p, double now) const {
  const double seconds = now - stage_begin_;
  Pace at;
  if (seconds <= 0) return at;
  if (p.done > stage_first_) {
    at.rate = double(p.done - stage_first_) / seconds;
    at.seconds_left = double(std::max<std::int64_t>(p.total - p.done, 0)) / at.rate;
  }
  if (p.share > stage_share_ && stage_share_ >= 0)
    at.seconds_left = seconds * std::max(1 - p.share, 0.) / (p.share - stage_share_);
  return at;
}

void ProgressLog::draw_bar(const Progress& p, const Pace& at) {
  const double share = p.total > 0 ? std::clamp(double(p.done) / double(p.total), 0.0, 1.0) : 0;
  const auto full = std::size_t(std::lround(share * kBarWidth));
  err_ << "\r\x1b[K" << p.stage << " [" << std::string(full, '#') << std::string(kBarWidth - full, '.') << ']'
       << facts(p, at.rate, at.seconds_left);
  drawn_ = true;
}

void ProgressLog::write_line(const Progress& p, const Pace& at) {
  err_ << p.stage << facts(p, at.rate, at.seconds_left) << '\n';
}

void ProgressLog::write_json(const Progress& p, const Pace& at) {
  Json event{{"stage", p.stage}, {"done", p.done}, {"total", p.total}};
  if (!p.unit.empty()) event.update(Json{{"value", p.value}, {"unit", p.unit}});
  for (const auto& v : p.more)
    if (!v.unit.empty()) event[std::string(v.unit)] = v.value;
  if (at.rate > 0) event["per_second"] = at.rate;
  if (at.seconds_left >= 0) event["seconds_left"] = at.seconds_left;
  err_ << event.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
}

void ProgressLog::clear_bar() {
  if (!drawn_) return;
  err_ << "\r\x1b[K";
  err_.flush();
  drawn_ = false;
}

TextBuffer::int_type TextBuffer::overflow(int_type c) {
  if (traits_type::eq_int_type(c, traits_type::eof())) return traits_type::not_eof(c);
  const char text = traits_type::to_char_type(c);
  return xsputn(&text, 1) == 1 ? c : traits_type::eof();
}

std::streamsize TextBuffer::xsputn(const char* text, std::streamsize n) {
  log_.clear_bar();
  return to_ ? to_->sputn(text, n) : n;
}

}  // namespace sinter
