#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Deterministic mutations: the i-th mutation of the same samples is the same bytes on every machine.
namespace sinter::fuzz {

enum class Outcome { loaded, refused };

// Gets one hostile input. It may load it or refuse it with sinter::Error (code input) or the header's own Failure;
// any other exception, a crash or a hang is a defect.
using Target = Outcome (*)(std::string_view input);

struct Suite {
  std::string name;
  std::vector<std::string> samples;  // sound inputs that mutations start from
  std::vector<std::string> words;  // spliced in whole: what bytes drawn at random would never spell
  bool length_prefix = false;  // 8 bytes give the length of what follows: half of the mutations keep them right
  Target target = nullptr;
  std::size_t largest = std::size_t{1} << 16;  // the most that one operator new may ask for
};

std::string mutate(const Suite& suite, std::uint64_t index);

struct Tally {
  std::uint64_t loaded = 0, refused = 0;
};
// Mutations first .. first + count - 1. What the target throws passes through, with the index in the message.
Tally run_mutations(const Suite& suite, std::uint64_t first, std::uint64_t count);

}  // namespace sinter::fuzz
