#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/random.h"
#include "train/data/worlds_lists.h"

// A village with its people and its narrator; and one document while it is being told: the slots of its sentences,
// its facts.
namespace sinter::worlds {

inline constexpr std::uint32_t kVoices = 4;
using Voices = std::array<std::string_view, kVoices>;  // the same statement as each narrator words it

// A stream of draws from one Rng.
class Dice {
 public:
  explicit Dice(Rng rng) : rng_(rng) {}
  std::uint32_t below(std::uint32_t n) { return std::uint32_t((std::uint64_t(rng_.bits(next_++)) * n) >> 32); }
  bool chance(std::uint32_t percent) { return below(100) < percent; }
  template <class T>
  const T& pick(std::span<const T> list) {
    return list[below(std::uint32_t(list.size()))];
  }

 private:
  Rng rng_;
  std::uint64_t next_ = 0;
};

struct Person {
  std::string name;
  bool female;
  const Job* job;
  const Beast* beast;  // the animal that lives with them, called `pet`
  std::string_view pet, food, thing, colour,
      place;  // what they like to eat, own (a thing of that colour), where they are
};

// Who recurs in a row of documents, and the narrator who tells of them.
struct Village {
  static constexpr std::uint32_t kPeople = 8;
  explicit Village(Rng rng);
  std::uint32_t town = 0, voice = 0;
  bool digits = false;  // the narrator writes 7 for seven
  std::vector<std::pair<std::string_view, std::string_view>> synonyms;  // slot, the narrator's word
  std::vector<Person> people;
  std::array<std::uint8_t, kPeople * kPeople> kin{};  // how two people are related, symmetric
};

struct Fact {
  std::string question, answer;
};

std::string with_article(std::string_view word);  // "an apple", "a pear"
std::string sentence_case(std::string text);  // first letter in upper case

class Story {
 public:
  Story(const Village& village, Rng rng);

  const Village& village;
  Dice dice;
  const Person *a, *b;
  std::string text;
  std::vector<Fact> facts;
  std::vector<std::string> retelling;

  void set(std::string_view slot, std::string_view value);
  std::string fill(std::string_view pattern) const;  // "{slot}" -> its value; an unknown slot is an error (usage)
  void tell(const Voices& wordings);  // one sentence or more in this document's voice
  void recall(std::string_view pattern);  // a clause that the retelling may use
  void ask(std::string_view question, std::string_view answer);
  std::string number(std::uint32_t n) const;  // digits or words, as this narrator writes them
  std::uint32_t kin() const;  // of {a} and {b}, below 8
  void swap_people();  // who is {a} and who is {b} in the next episode

 private:
  void set_people();
  std::vector<std::pair<std::string_view, std::string>> slots_;
};

// Something that is true in every document ("What is the young of a cow?" "a calf"), drawn from the fixed tables.
Fact draw_lore(Dice& dice, bool digits);

// The opening and the episodes; each adds sentences, clauses for the retelling, and facts.
void open_story(Story& story);
using Episode = void (*)(Story&);
std::span<const Episode> episodes();

}  // namespace sinter::worlds
