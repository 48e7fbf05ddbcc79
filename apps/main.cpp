#include <unistd.h>

#include <iostream>

#include "apps/interrupt.h"
#include "apps/program.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  sinter::install_signal_handlers();
  return sinter::run_program({argv + 1, argv + argc}, {std::cout, std::cerr, isatty(STDERR_FILENO) == 1});
}
