#include "train/compress/report.h"

#include <nlohmann/json.hpp>

namespace sinter {

Json report_json(const LayerReport& r) {
  return {{"name", r.name},
          {"block", r.block},
          {"shape", {r.rows, r.columns}},
          {"error", r.error},
          {"zeros", r.zeros},
          {"bits_per_weight", r.bits_per_weight},
          {"loss", r.loss},
          {"damp", r.damp},
          {"ladder", r.ladder},
          {"dead_columns", r.dead},
          {"over_plain", r.over_plain},
          {"warnings", r.warnings},
          {"seconds", r.seconds}};
}

LayerReport read_report(std::string_view where, const Json& json) {
  const JsonFields f(where, json);
  const auto shape = f.integers("shape", 1);
  if (shape.size() != 2) f.refuse("shape", "two numbers");
  LayerReport r;
  r.name = f.text("name");
  r.block = int(f.integer("block", 0, 1 << 20));
  r.rows = shape[0];
  r.columns = shape[1];
  r.error = f.number("error");
  r.zeros = f.number("zeros");
  r.bits_per_weight = f.number("bits_per_weight");
  r.loss = f.number("loss");
  r.damp = f.number("damp");
  r.ladder = int(f.integer("ladder", 0, 100));
  r.dead = f.integer("dead_columns", 0);
  r.over_plain = f.number("over_plain");
  const Json& warnings = f.at("warnings");
  if (!warnings.is_array()) f.refuse("warnings", "a list of texts");
  for (const Json& w : warnings) {
    if (!w.is_string()) f.refuse("warnings", "a list of texts");
    r.warnings.push_back(w.get<std::string>());
  }
  r.seconds = f.number("seconds");
  return r;
}

Json seconds_json(const PhaseSeconds& s) {
  return {{"forward", s.forward}, {"statistics", s.statistics}, {"solve", s.solve},
          {"write", s.write},     {"rest", s.rest()},           {"all", s.all}};
}

PhaseSeconds read_seconds(std::string_view where, const Json& json) {
  const JsonFields f(where, json);
  return {f.number("forward"), f.number("statistics"), f.number("solve"), f.number("write"), f.number("all")};
}

}  // namespace sinter
