#include "apps/interrupt.h"

#include <unistd.h>
#include <csignal>

namespace sinter {
namespace {

volatile std::sig_atomic_t asked = 0;

extern "C" void sinter_on_signal(int) {
  if (asked) _exit(130);
  asked = 1;
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = sinter_on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

bool interrupted() { return asked != 0; }
void set_interrupted(bool value) { asked = value; }

}  // namespace sinter
