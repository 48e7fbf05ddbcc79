#pragma once
#include <ostream>
#include <string>
#include <vector>

namespace sinter {

struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;
};

// The whole program: `args` without its name. Returns the exit code: 0 done, 1 failed at work, 2 wrong usage, 3 bad
// input file, 130 interrupted. An error is one line on `err`, beginning with "sinter: ".
int run_program(const std::vector<std::string>& args, const Terminal&);

}  // namespace sinter
