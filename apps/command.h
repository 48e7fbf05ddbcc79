#pragma once
#include <memory>
#include <ostream>
#include <span>
#include <string_view>

#include "apps/cli.h"
#include "core/json.h"
#include "core/log.h"
#include "ops/gemm.h"

namespace sinter {

// What the flags common to all sub-commands became.
struct Session {
  std::ostream& out;  // text for people: standard output, or standard error where --json - takes the former
  LogSink& log;
  Compute compute = Compute::f32;
  std::uint64_t seed = 0;
  std::string command{};  // as it was typed, quoted for a shell
};

// One sub-command: its flags are bound to its members, then it runs once.
class Command {
 public:
  virtual ~Command() = default;
  virtual void declare(Flags&) = 0;
  virtual Json run(Session&) = 0;  // prints for people and returns the same result for --json
};

struct CommandInfo {
  std::string_view name, summary, examples;
  std::unique_ptr<Command> (*make)();
};

// The table of sub-commands, in the order of --help.
std::span<const CommandInfo> commands();

}  // namespace sinter
