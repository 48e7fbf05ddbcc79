#pragma once
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

// The flags common to all sub-commands on which a result depends.
struct Numerics {
  std::string compute = "f32";
  std::int64_t seed = 0;

  void declare(Flags&);
  void check() const;  // Error(usage)
  Compute mode() const { return compute == "bf16" ? Compute::bf16 : Compute::f32; }
};

// The line to type for it: "sinter generate MODEL --prompt 'Once upon a time'".
std::string as_typed(std::string_view command, const std::vector<std::string>& args);

// One sub-command: its flags are bound to its members, then it runs once.
class Command {
 public:
  virtual ~Command() = default;
  virtual void declare(Flags&) = 0;
  virtual void check() const {}  // Error(usage) for flags that can be refused before any file is looked at
  virtual Json run(Session&) = 0;  // prints for people and returns the same result for --json
};

struct CommandInfo {
  std::string_view name, summary, examples;
  std::unique_ptr<Command> (*make)();
};

// The table of sub-commands, in the order of --help.
std::span<const CommandInfo> commands();

}  // namespace sinter
