#include "apps/progress.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

#include <nlohmann/json.hpp>
#include "apps/interrupt.h"
#include "core/json.h"

using namespace sinter;

namespace {

struct Scene {
  std::ostringstream err;
  double now = 100;
  ProgressLog log;
  Scene(ProgressStyle style, bool quiet = false) : log(err, style, quiet, [this] { return now; }) {}
  // Sixteen reports a second, a time step that adds up exactly.
  void steps(std::int64_t from, std::int64_t to, std::int64_t total) {
    for (std::int64_t i = from; i <= to; ++i, now += 0.0625) log.progress({"work", i, total, 1.5, "loss"});
  }
};

}  // namespace

TEST_CASE("a job under two seconds draws nothing") {
  for (const auto style : {ProgressStyle::bar, ProgressStyle::lines}) {
    Scene s(style);
    s.steps(1, 30, 30);
    CHECK(s.err.str().empty());
  }
}

TEST_CASE("the bar is redrawn at most ten times a second, ends complete and is wiped") {
  Scene s(ProgressStyle::bar);
  s.steps(1, 200, 200);
  const std::string text = s.err.str();
  const auto drawn = std::ranges::count(text, '\r');
  CHECK(drawn >= 50);
  CHECK(drawn <= 106);  // 10.5 s that remain after the first two, at ten a second, and the last
  CHECK(text.find("work [########################] 200/200  loss 1.5  16/s  0:00 left") != std::string::npos);
  s.log.clear_bar();
  CHECK(s.err.str().ends_with("\r\x1b[K"));
}

TEST_CASE("text for people wipes the bar before it") {
  Scene s(ProgressStyle::bar);
  std::ostringstream text;
  TextBuffer buffer(text.rdbuf(), s.log), nowhere(nullptr, s.log);
  std::ostream out(&buffer), silent(&nowhere);
  s.steps(1, 100, 200);
  CHECK_FALSE(s.err.str().ends_with("\r\x1b[K"));
  out << "result " << 5 << '\n' << std::flush;
  CHECK(s.err.str().ends_with("\r\x1b[K"));
  CHECK(text.str() == "result 5\n");
  silent << "nothing\n" << std::flush;
  CHECK(bool(silent));
}

TEST_CASE("plain lines come at most every five seconds, with rate and time left") {
  Scene s(ProgressStyle::lines);
  s.steps(1, 400, 1000);
  const std::string text = s.err.str();
  CHECK(std::ranges::count(text, '\n') == 5);  // at 2, 7, 12, 17 and 22 of 25 s
  CAPTURE(text);
  CHECK(text.starts_with("work 33/1000  loss 1.5  16/s  1:01 left\n"));
  CHECK(text.find('\r') == std::string::npos);
}

TEST_CASE("JSON events are one object per line") {
  Scene s(ProgressStyle::json);
  s.log.progress({"work", 1, 2, 0.25, "loss"});
  s.now += 1;
  s.log.progress({"work", 2, 2, 0.25, "loss"});
  s.log.note("a \"note\"");
  s.log.warn("careful");
  std::istringstream lines(s.err.str());
  std::string line;
  std::vector<Json> events;
  while (std::getline(lines, line)) events.push_back(parse_json(line, "event"));
  REQUIRE(events.size() == 4);
  CHECK(events[1] == Json{{"stage", "work"},
                          {"done", 2},
                          {"total", 2},
                          {"value", 0.25},
                          {"unit", "loss"},
                          {"per_second", 1.0},
                          {"seconds_left", 0.0}});
  CHECK(events[2]["note"] == "a \"note\"");
  CHECK(events[3]["warning"] == "careful");
}

TEST_CASE("time left follows the share of the work where steps are unequal") {
  Scene s(ProgressStyle::lines);
  s.log.progress({"work", 0, 4, 1.5, "loss", 0.1});
  s.now += 10;
  s.log.progress({"work", 0, 4, 1.5, "loss", 0.2});
  s.now += 10;
  s.log.progress({"work", 3, 4, 1.5, "loss", 0.3});
  CHECK(s.err.str() == "work 0/4  loss 1.5  1:20 left\nwork 3/4  loss 1.5  0.15/s  1:10 left\n");
}

TEST_CASE("further values stand behind the rate, and are fields of an event") {
  Progress p{.stage = "train", .done = 1, .total = 4, .value = 2.25, .unit = "loss"};
  p.more[0] = {51234.4, "tokens/s"};
  p.more[1] = {2.5, "validation"};
  Scene lines(ProgressStyle::lines);
  lines.log.progress(p);
  lines.now += 4;
  p.done = 2;
  lines.log.progress(p);
  CHECK(lines.err.str() == "train 2/4  loss 2.25  0.25/s  tokens/s 51234  validation 2.5  0:08 left\n");
  Scene events(ProgressStyle::json);
  events.log.progress(p);
  const Json event = parse_json(events.err.str(), "event");
  CHECK(event["value"] == 2.25);
  CHECK(event["tokens/s"] == 51234.4);
  CHECK(event["validation"] == 2.5);
}

TEST_CASE("quiet keeps warnings only") {
  Scene s(ProgressStyle::lines, true);
  s.steps(1, 400, 400);
  s.log.note("note");
  CHECK(s.err.str().empty());
  s.log.warn("careful");
  CHECK(s.err.str() == "sinter: warning: careful\n");
}

TEST_CASE("an interrupt reaches the library through the log") {
  Scene s(ProgressStyle::none);
  CHECK_NOTHROW(s.log.check_stop("work"));
  set_interrupted(true);
  CHECK_THROWS_WITH_AS(s.log.check_stop("work"), "work: interrupted", Error);
  set_interrupted(false);
}
