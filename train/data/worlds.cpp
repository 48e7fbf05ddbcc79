#include "train/data/worlds.h"

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core/file.h"
#include "core/json.h"
#include "train/data/worlds_story.h"

namespace sinter {
namespace {

using worlds::Dice;
using worlds::Fact;
using worlds::Story;
using worlds::Village;

struct Told {
  std::string story;
  std::vector<Fact> asked;
};

// FNV-1a, then mixed: one text in eight is a held-out text.
bool is_held_out_text(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : text) hash = (hash ^ std::uint8_t(c)) * 0x100000001B3ull;
  return (hash ^ (hash >> 32)) % 8 == 0;
}

template <class T>
void shuffle(std::vector<T>& list, Dice& dice) {
  for (std::size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[dice.below(std::uint32_t(i))]);
}

Told tell_world(const Village& village, Rng rng) {
  Story story(village, rng);
  Dice& dice = story.dice;
  worlds::open_story(story);
  const std::span<const worlds::Episode> all = worlds::episodes();
  std::vector<worlds::Episode> chosen(all.begin(), all.end());
  shuffle(chosen, dice);
  chosen.resize(dice.chance(70) ? 2 : 3);
  for (const worlds::Episode episode : chosen) {
    if (dice.chance(40)) story.swap_people();
    episode(story);
  }
  if (!story.retelling.empty() && dice.chance(30)) {
    story.text += " In short:";
    for (std::size_t i = 0; i < story.retelling.size(); ++i) {
      story.text.append(i == 0 ? " " : i + 1 < story.retelling.size() ? ", " : ", and ").append(story.retelling[i]);
    }
    story.text += '.';
  }
  story.text += '\n';
  // The same question twice would have two answers only where two episodes share a thing; such a pair is not asked.
  shuffle(story.facts, dice);
  std::vector<Fact> asked;
  for (const Fact& fact : story.facts) {
    std::size_t same = 0;
    for (const Fact& other : story.facts) same += other.question == fact.question;
    if (same == 1 && asked.size() < 2) asked.push_back(fact);
  }
  if (dice.chance(50)) {
    const Fact lore = worlds::draw_lore(dice, story.village.digits);
    asked.push_back({worlds::sentence_case(lore.question) + "?", lore.answer + "."});
  }
  return {std::move(story.text), std::move(asked)};
}

std::string write_out(const Told& told) {
  std::string text = told.story;
  for (const Fact& fact : told.asked) text += "Question: " + fact.question + "\nAnswer: " + fact.answer + "\n";
  return text + "\n";
}

// Document `index` of a village; draws until the text lies on the side that is asked for.
Told draw_world(const Village& village, Rng rng, std::uint64_t index, bool held_out) {
  for (std::uint64_t attempt = 0;; ++attempt) {
    Told told = tell_world(village, rng.fork(index).fork(attempt));
    if (is_held_out_text(write_out(told)) == held_out) return told;
  }
}

Told draw_world(Rng rng, std::uint64_t index) {
  const Rng home = rng.fork(index / kVillageWorlds);
  return draw_world(Village(home), home, index % kVillageWorlds, index >= kHeldOutWorlds);
}

}  // namespace

std::string make_world(Rng rng, std::uint64_t index) { return write_out(draw_world(rng, index)); }

std::vector<std::string> make_worlds(std::uint64_t seed, std::uint64_t first, std::size_t count) {
  std::vector<std::string> out;
  out.reserve(count);
  for (std::size_t i = 0; i < count; ++i) out.push_back(make_world(Rng{seed}, first + i));
  return out;
}

std::vector<std::string> make_village(std::uint64_t seed, std::uint64_t index, std::size_t count) {
  const Rng home = Rng{seed}.fork(index / kVillageWorlds);
  const Village village(home);
  std::vector<std::string> out;
  std::unordered_set<std::string> told;
  for (std::uint64_t i = 0; out.size() < count; ++i) {
    std::string text = write_out(draw_world(village, home, i, index >= kHeldOutWorlds));
    if (told.insert(text).second) out.push_back(std::move(text));
  }
  return out;
}

std::vector<WorldQuestion> make_questions(std::uint64_t seed, std::uint64_t first, std::size_t count) {
  std::vector<WorldQuestion> out;
  for (std::size_t i = 0; i < count; ++i) {
    const Told told = draw_world(Rng{seed}, first + i);
    const Fact& fact = told.asked.front();
    out.push_back({told.story, "Question: " + fact.question + "\nAnswer:", " " + fact.answer});
  }
  return out;
}

void write_worlds(const std::filesystem::path& path, std::uint64_t seed, std::uint64_t first, std::int64_t count,
                  LogSink& log) {
  constexpr std::int64_t kReport = 100;  // documents
  const bool records = path.extension() == ".jsonl";
  AtomicWriter file(path);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string text = make_world(Rng{seed}, first + std::uint64_t(i));
    file.write(records ? Json{{"text", text}}.dump() + "\n" : text);
    if ((i + 1) % kReport != 0) continue;
    log.check_stop("worlds");
    log.progress({"worlds", i + 1, count});
  }
  file.commit();
}

std::size_t shared_worlds(std::span<const std::string> train, std::span<const std::string> held_out) {
  const std::unordered_set<std::string_view> known(train.begin(), train.end());
  std::size_t shared = 0;
  for (const std::string& text : held_out) shared += known.contains(text);
  return shared;
}

}  // namespace sinter
