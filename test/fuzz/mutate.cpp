#include "test/fuzz/mutate.h"

#include <cstring>
#include <stdexcept>

#include "core/random.h"

namespace sinter::fuzz {

namespace {

class Dice {
 public:
  explicit Dice(std::uint64_t index) : rng_{0x5eed, index} {}
  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(rng_.below(next_++, n)); }

 private:
  Rng rng_;
  std::uint64_t next_ = 0;
};

constexpr char kBytes[] = "\x00\x01\x7f\x80\xff\"\\{}[]:,0123456789-+.eE /nultrfas\n\t";

void replace_number(std::string& text, Dice& dice) {
  static constexpr std::string_view kNumbers[] = {"0",
                                                  "1",
                                                  "-1",
                                                  "2",
                                                  "7",
                                                  "8",
                                                  "1.0",
                                                  "1e3",
                                                  "-0",
                                                  "01",
                                                  "255",
                                                  "4294967296",
                                                  "9223372036854775807",
                                                  "9223372036854775808",
                                                  "18446744073709551615",
                                                  "18446744073709551616",
                                                  "1e999"};
  const std::size_t at = text.find_first_of("0123456789", dice.below(text.size()));
  if (at == text.npos) return;
  const std::size_t end = text.find_first_not_of("0123456789", at);
  text.replace(at, (end == text.npos ? text.size() : end) - at, kNumbers[dice.below(std::size(kNumbers))]);
}

void mutate_once(std::string& text, const Suite& suite, Dice& dice) {
  const std::size_t at = dice.below(text.size() + 1);
  const std::size_t length = 1 + dice.below(dice.below(4) == 0 ? 64 : 4);
  switch (dice.below(9)) {
    case 0:  // flip a bit
      if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << dice.below(8)));
      break;
    case 1:  // replace a byte
      if (at < text.size()) text[at] = kBytes[dice.below(sizeof kBytes)];
      break;
    case 2: text.erase(at, length); break;
    case 3: text.insert(at, length % 8 + 1, kBytes[dice.below(sizeof kBytes)]); break;
    case 4: text.insert(dice.below(text.size() + 1), text.substr(at, length * 8)); break;  // repeat a piece elsewhere
    case 5: text.resize(at); break;
    case 6: text.insert(at, suite.words[dice.below(suite.words.size())]); break;
    case 7: text.replace(at, length, suite.words[dice.below(suite.words.size())]); break;
    default: replace_number(text, dice);
  }
}

}  // namespace

std::string mutate(const Suite& suite, std::uint64_t index) {
  Dice dice(index);
  const std::string& sample = suite.samples[dice.below(suite.samples.size())];
  const std::size_t rounds = 1 + dice.below(4);
  std::string head, text = sample, tail;
  const bool keep_prefix = suite.length_prefix && dice.below(2) == 0;
  if (keep_prefix) {
    std::uint64_t length = 0;
    std::memcpy(&length, sample.data(), 8);
    text = sample.substr(8, length);
    tail = sample.substr(8 + length);
  }
  for (std::size_t i = 0; i < rounds; ++i) mutate_once(text, suite, dice);
  if (keep_prefix) {
    const std::uint64_t length = text.size();
    head.assign(reinterpret_cast<const char*>(&length), 8);
  }
  return head + text + tail;
}

Tally run_mutations(const Suite& suite, std::uint64_t first, std::uint64_t count) {
  Tally tally;
  for (std::uint64_t i = first; i < first + count; ++i) {
    try {
      ++(suite.target(mutate(suite, i)) == Outcome::loaded ? tally.loaded : tally.refused);
    } catch (const std::exception& error) {
      throw std::runtime_error(suite.name + ": mutation " + std::to_string(i) + ": " + error.what());
    }
  }
  return tally;
}

}  // namespace sinter::fuzz
