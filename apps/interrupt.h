#pragma once

namespace sinter {

// SIGINT and SIGTERM ask for an orderly stop; a second one ends the process at once with 130. SIGPIPE becomes a failed
// write, so that a closed pipe is an error like a full disk.
void install_signal_handlers();
bool interrupted();
void set_interrupted(bool);

}  // namespace sinter
