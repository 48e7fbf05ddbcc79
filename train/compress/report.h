#pragma once
#include <string>
#include <vector>

#include "core/json.h"

namespace sinter {

// What happened to one linear.
struct LayerReport {
  std::string name;
  int block = 0;
  std::int64_t rows = 0, columns = 0;
  double error = 0, zeros = 0, loss = 0, damp = 0;  // LayerResult
  double bits_per_weight = 0;  // measured: bytes of all stored parts
  int ladder = 0;
  std::int64_t dead = 0;  // columns that no input excites
  double over_plain = 0;  // LayerResult
  std::vector<std::string> warnings;
  double seconds = 0;  // of the solve
};

// Where the time of a compression went.
struct PhaseSeconds {
  double forward = 0, statistics = 0, solve = 0, write = 0, all = 0;
  double rest() const { return all - forward - statistics - solve - write; }
};

Json report_json(const LayerReport&);
LayerReport read_report(std::string_view where, const Json&);  // Error(input)
Json seconds_json(const PhaseSeconds&);
PhaseSeconds read_seconds(std::string_view where, const Json&);

}  // namespace sinter
