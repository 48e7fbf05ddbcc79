#include "apps/command.h"

namespace sinter {

void Numerics::declare(Flags& f) {
  f.option("--compute", "f32|bf16", &compute, "Arithmetic of products (default f32)").one_of({"f32", "bf16"});
  f.option("--seed", "N", &seed, "Same seed, same bits, for every number of threads (default 0)").alias("-s");
}

void Numerics::check() const { require(seed >= 0, ErrorCode::usage, "--seed", "expected 0 or more, found ", seed); }

std::string as_typed(std::string_view command, const std::vector<std::string>& args) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,+@%";
  std::string line = "sinter " + std::string(command);
  for (const std::string& arg : args) {
    const bool plain = !arg.empty() && arg.find_first_not_of(kPlain) == std::string::npos;
    line += plain ? " " : " '";
    for (const char c : arg) line += c == '\'' ? "'\\''" : std::string(1, c);
    if (!plain) line += "'";
  }
  return line;
}

}  // namespace sinter
