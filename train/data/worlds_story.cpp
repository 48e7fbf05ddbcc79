#include "train/data/worlds_story.h"

#include "core/error.h"

namespace sinter::worlds {
namespace {

using Words = std::string_view;

// `count` different entries of a pool.
std::vector<Words> draw_different(Dice& dice, std::span<const Words> pool, std::size_t count) {
  std::vector<Words> drawn;
  while (drawn.size() < count) {
    const Words word = dice.pick(pool);
    bool seen = false;
    for (const Words other : drawn) seen = seen || other == word;
    if (!seen) drawn.push_back(word);
  }
  return drawn;
}

struct Synonyms {
  Words slot;
  std::array<Words, 4> words;
};
constexpr Synonyms kSynonyms[] = {{"then", {"then", "after that", "later", "soon"}},
                                  {"went", {"went", "walked", "ran", "rode"}},
                                  {"glad", {"glad", "happy", "pleased", "merry"}},
                                  {"said", {"said", "answered", "replied", "whispered"}},
                                  {"kept", {"kept", "stored", "left", "hid"}}};

}  // namespace

std::string with_article(Words word) {
  const bool vowel = !word.empty() && Words("aeio").find(word[0]) != Words::npos;
  return std::string(vowel ? "an " : "a ").append(word);
}

std::string sentence_case(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = char(text[0] - 'a' + 'A');
  return text;
}

Village::Village(Rng rng) {
  Dice dice(rng);
  town = dice.below(town_count());
  voice = dice.below(kVoices);
  digits = dice.chance(50);
  for (const Synonyms& s : kSynonyms) synonyms.emplace_back(s.slot, s.words[dice.below(4)]);
  const auto pets = draw_different(dice, pet_names(), kPeople), meals = draw_different(dice, foods(), kPeople);
  const auto things = draw_different(dice, objects(), kPeople), where = draw_different(dice, places(), kPeople);
  while (people.size() < kPeople) {
    const std::size_t i = people.size();
    const bool female = dice.chance(50);
    Person p{person_name(female, dice.below(person_names())),
             female,
             &dice.pick(jobs()),
             &dice.pick(beasts()),
             pets[i],
             meals[i],
             things[i],
             dice.pick(colours()),
             where[i]};
    // Two names never begin alike, and no two people have one job: answers stay plain.
    bool clash = false;
    for (const Person& other : people) {
      clash = clash || other.name.compare(0, 2, p.name, 0, 2) == 0 || other.job == p.job;
    }
    if (!clash) people.push_back(std::move(p));
  }
  for (std::uint32_t i = 0; i < kPeople; ++i) {
    for (std::uint32_t j = 0; j < i; ++j) kin[i * kPeople + j] = kin[j * kPeople + i] = std::uint8_t(dice.below(8));
  }
}

Story::Story(const Village& home, Rng rng) : village(home), dice(rng) {
  for (const auto& [slot, word] : village.synonyms) set(slot, word);
  const std::uint32_t first = dice.below(Village::kPeople);
  a = &village.people[first];
  b = &village.people[(first + 1 + dice.below(Village::kPeople - 1)) % Village::kPeople];
  set_people();
  set("town", town_name(village.town));
}

std::uint32_t Story::kin() const {
  const auto i = a - village.people.data(), j = b - village.people.data();
  return village.kin[std::size_t(i) * Village::kPeople + std::size_t(j)];
}

void Story::set(Words slot, Words value) {
  for (auto& [name, old] : slots_) {
    if (name == slot) return void(old = value);
  }
  slots_.emplace_back(slot, value);
}

void Story::set_people() {
  set("a", a->name);
  set("b", b->name);
  set("he", a->female ? "she" : "he");
  set("his", a->female ? "her" : "his");
  set("him", a->female ? "her" : "him");
  set("bhe", b->female ? "she" : "he");
  set("bhis", b->female ? "her" : "his");
  set("p", a->place);
  set("q", b->place);
  set("noun", a->thing);
  set("bnoun", b->thing);
  set("colour", a->colour);
  set("food", a->food);
  set("bfood", b->food);
}

void Story::swap_people() {
  std::swap(a, b);
  set_people();
}

std::string Story::fill(Words pattern) const {
  std::string out;
  for (std::size_t at = 0; at < pattern.size();) {
    const std::size_t open = pattern.find('{', at);
    out.append(pattern.substr(at, open == Words::npos ? open : open - at));
    if (open == Words::npos) break;
    const std::size_t close = pattern.find('}', open);
    require(close != Words::npos, ErrorCode::usage, "worlds", "a slot is not closed in '", pattern, "'");
    const Words name = pattern.substr(open + 1, close - open - 1);
    const std::string* value = nullptr;
    for (const auto& slot : slots_) {
      if (slot.first == name) value = &slot.second;
    }
    require(value != nullptr, ErrorCode::usage, "worlds", "no slot '", name, "' for '", pattern, "'");
    // A sentence may begin inside a pattern: after ". " a slot starts with a capital.
    const bool starts = out.size() >= 2 && out[out.size() - 2] == '.';
    out += starts ? sentence_case(*value) : *value;
    at = close + 1;
  }
  return out;
}

void Story::tell(const Voices& wordings) {
  if (!text.empty()) text += ' ';
  text += sentence_case(fill(wordings[village.voice]));
}

void Story::recall(Words pattern) { retelling.push_back(fill(pattern)); }

void Story::ask(Words question, Words answer) {
  facts.push_back({sentence_case(fill(question)) + "?", fill(answer) + "."});
}

std::string Story::number(std::uint32_t n) const {
  return village.digits ? std::to_string(n) : std::string(number_word(n));
}

Fact draw_lore(Dice& dice, bool digits) {
  const auto join = [](std::initializer_list<Words> parts) {
    std::string out;
    for (const Words part : parts) out.append(part);
    return out;
  };
  const Job& job = dice.pick(jobs());
  const Beast& beast = dice.pick(beasts());
  const Pair& pair = dice.pick(opposites());
  const std::uint32_t town = dice.below(town_count()), n = 2 + dice.below(9), m = 1 + dice.below(9);
  const std::uint32_t day = dice.below(7), month = dice.below(12);
  const auto number = [&](std::uint32_t x) { return digits ? std::to_string(x) : std::string(number_word(x)); };
  switch (dice.below(10)) {
    case 0: return {join({"what is the young of a ", beast.name}), with_article(beast.young)};
    case 1: return {join({"what does a ", beast.name, " eat"}), std::string(beast.food)};
    case 2: return {join({"what does ", with_article(job.name), " work with"}), std::string(job.material)};
    case 3: return {join({"which tool does ", with_article(job.name), " need"}), with_article(job.tool)};
    case 4: return {join({"which river flows through ", town_name(town)}), join({"the ", town_river(town)})};
    case 5: return {join({"what is sold in ", town_name(town)}), std::string(town_trade(town))};
    case 6: return {join({"what is the opposite of ", pair.left}), std::string(pair.right)};
    case 7: return {join({"which day comes after ", days()[day]}), std::string(days()[(day + 1) % 7])};
    case 8: return {join({"which month comes after ", months()[month]}), std::string(months()[(month + 1) % 12])};
    default: return {join({"how many are ", number(n), " and ", number(m)}), number(n + m)};
  }
}

}  // namespace sinter::worlds
