#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace sinter {

// Where a flag's value goes. An optional stays empty when the flag is not given; a vector takes every repetition.
using FlagTarget = std::variant<bool*, std::int64_t*, double*, std::string*, std::vector<std::string>*,
                                std::optional<std::int64_t>*, std::optional<double>*, std::optional<std::string>*>;

// The flags of one sub-command: --name value, --name=value, one-letter aliases. `_` and `-` are the same in names.
class Flags {
 public:
  Flags(std::string command, std::string summary, std::string examples);
  ~Flags();
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;

  // What was just declared, for its further properties.
  class Flag {
   public:
    Flag(Flags& owner, std::string name) : owner_(owner), name_(std::move(name)) {}
    Flag alias(const std::string& other);  // another name (of a peer's program): "--seqlen", "-t"
    Flag required();
    Flag one_of(std::vector<std::string> words);  // the only values

   private:
    Flags& owner_;
    std::string name_;
  };
  Flag positional(const std::string& name, FlagTarget, const std::string& help);  // "MODEL", or --model; required
  Flag option(const std::string& name, const std::string& value, FlagTarget,
              const std::string& help);  // "--seq-len", "T"
  Flag flag(const std::string& name, bool& target, const std::string& help);
  void group(const std::string& title);  // heading of what is declared next

  // What has that name ("--seqlen" finds "--seq-len", "--model" finds "MODEL"), if anything does.
  struct Known {
    std::string name;
    bool takes_value;
  };
  std::optional<Known> find(std::string name) const;

  // Fills the targets; false when --help was asked for. Error(usage) in one line, with a suggestion for a typo.
  bool parse(const std::vector<std::string>& args);
  std::string help() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The candidate nearest to a mistyped word, or empty when none is near.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace sinter
