#include "train/data/worlds_story.h"

namespace sinter::worlds {
namespace {

using Words = std::string_view;

// A thing of {a} in the place {p}; {b} carries it to {q}.
void keep(Story& s) {
  s.tell({"{a} {kept} a {colour} {noun} in the {p}.", "In the {p} {a} {kept} a {colour} {noun}.",
          "There was a {noun} of {a} in the {p}, and it was {colour}.",
          "{a} owned a {colour} {noun}, and {he} {kept} it in the {p}."});
  s.recall("{a} {kept} the {noun} in the {p}");
  s.ask("what colour was the {noun}", "{colour}");
  s.ask("whose was the {colour} {noun}", "it was the {noun} of {a}");
  if (s.dice.chance(35)) return s.ask("where was the {noun}", "in the {p}");
  s.tell({"{then} {b} carried the {colour} {noun} from the {p} to the {q}.",
          "but {b} took the {noun} out of the {p} and put it in the {q}.",
          "{then} the {colour} {noun} was moved by {b}, and now it was in the {q}.",
          "{then} {b} found the {noun} in the {p}, and {bhe} brought it to the {q}."});
  s.recall("{b} moved the {colour} {noun} to the {q}");
  s.ask("who moved the {noun}", "{b}");
  s.ask("where was the {noun} at the end", "in the {q}");
  s.ask("where was the {noun} at first", "in the {p}");
}

// {n} + {m}
void gain(Story& s) {
  const std::uint32_t n = 2 + s.dice.below(9), m = 1 + s.dice.below(9);
  s.set("things", s.dice.pick(countables()));
  s.set("n", s.number(n));
  s.set("m", s.number(m));
  s.set("sum", s.number(n + m));
  s.tell({"{a} had {n} {things}. {b} gave {him} {m} more. {then} {a} had {sum} {things}.",
          "in the {p} {a} found {n} {things}, and {b} brought {m} more, so {n} and {m} made {sum} {things}.",
          "there were {n} {things} in the {p}. {b} added {m} {things}, and {a} counted {sum}.",
          "{a} bought {n} {things} and got {m} more from {b}. {n} and {m} are {sum}, so {he} had {sum} {things}."});
  s.recall("{a} had {sum} {things}");
  s.ask("how many {things} were there at the end", "{n} and {m} are {sum}");
  s.ask("who gave {things} to {a}", "{b}");
}

// {n} - {m}
void lose(Story& s) {
  const std::uint32_t n = 5 + s.dice.below(8), m = 1 + s.dice.below(4);
  s.set("things", s.dice.pick(countables()));
  s.set("n", s.number(n));
  s.set("m", s.number(m));
  s.set("rest", s.number(n - m));
  s.tell({"{a} carried {n} {things}, but {he} lost {m} of them in the {q}. {then} {a} had {rest} {things} left.",
          "of {his} {n} {things} {a} gave {m} to {b}, so {he} had {rest} {things} left.",
          "there were {n} {things} in the bag of {a}. {b} took {m}, and {rest} {things} were left.",
          "{a} had {n} {things} in the {q}, and {he} sold {m} of them to {b}. {n} less {m} is {rest}."});
  s.recall("{a} had {rest} {things} left");
  s.ask("how many {things} were left", "{n} less {m} is {rest}");
}

// A journey to a town with its river and its trade.
void journey(Story& s) {
  std::uint32_t town = s.dice.below(town_count());
  if (town == s.village.town) town = (town + 1) % town_count();
  s.set("far", town_name(town));
  s.set("river", town_river(town));
  s.set("goods", town_trade(town));
  s.tell({"one day {a} {went} to {far}, the town on the {river}, and bought {goods} there for {b}.",
          "because {b} needed {goods}, {a} {went} along the {river} to {far}.",
          "the town of {far} lies by the river {river}. {a} {went} there with {b}, and they came home with {goods}.",
          "{a} and {b} {went} to {far} for {goods}, and they crossed the {river} by boat."});
  s.recall("{a} brought {goods} from {far}");
  s.ask("what came from {far}", "{goods}");
  s.ask("to which town did {a} travel", "to {far}");
  s.ask("which river flows through {far}", "the {river}");
}

// {b} asks {a} something that holds everywhere.
void lesson(Story& s) {
  for (std::uint32_t round = 0; round < 2; ++round) {
    const Fact lore = draw_lore(s.dice, s.village.digits);
    s.set("riddle", lore.question);
    s.set("solution", lore.answer);
    const Voices first = {"In the {p} {b} asked {a}: {riddle}? {a} {said}: {solution}.",
                          "{a} and {b} sat in the {p} and learned. {riddle}? It is {solution}, {said} {a}.",
                          "{b} wanted to know {riddle}, and {a} {said} that it is {solution}.",
                          "\"Tell me, {a}, {riddle}?\" \"It is {solution},\" {a} {said} to {b}."};
    const Voices second = {"{then} {b} asked {him}: {riddle}? {a} {said}: {solution}.",
                           "{then} {riddle}? It is {solution}, {said} {b}.",
                           "{then} {b} wanted to know {riddle}, and {a} {said} that it is {solution}.",
                           "\"And {riddle}?\" \"It is {solution},\" {a} {said} to {b}."};
    s.tell(round == 0 ? first : second);
    s.ask("{riddle}", "{solution}");
  }
}

// What the two do for a living.
void work(Story& s) {
  s.set("stuff", s.a->job->material);
  s.set("tool", s.a->job->tool);
  s.set("job", s.a->job->name);
  s.set("bstuff", s.b->job->material);
  s.set("bjob", s.b->job->name);
  s.tell({"{a} worked with {stuff} all day, and {b} worked with {bstuff}. Once {a} lost {his} {tool} in the {q}.",
          "as {a} was a {job}, {he} needed {stuff} and a {tool}. {b}, the {bjob}, needed {bstuff}.",
          "in the {q} lay the {tool} of {a} with some {stuff}, and beside it the {bstuff} of {b}.",
          "{b} dreamed of {bstuff} and {a} of {stuff}, and every day {a} took {his} {tool} to the {q}."});
  s.recall("{a} worked with {stuff} and {b} with {bstuff}");
  s.ask("what did {a} work with", "{stuff}");
  s.ask("what did {b} work with", "{bstuff}");
  s.ask("whose was the {tool}", "it was the {tool} of {a}");
}

// Two days, one after the other.
void weather(Story& s) {
  const std::uint32_t day = s.dice.below(7), sky = s.dice.below(8), change = 1 + s.dice.below(7);
  s.set("day", days()[day]);
  s.set("next", days()[(day + 1) % 7]);
  s.set("sky", weathers()[sky]);
  s.set("newsky", weathers()[(sky + change) % 8]);
  s.tell({"on {day} it was {sky}, and {a} stayed in the {p}. On {next} it was {newsky}, and {he} {went} to the {q}.",
          "{day} was {sky}, so {a} and {b} met in the {p}. {next} was {newsky}, so they met in the {q}.",
          "the {p} was {sky} on {day}, and {a} was there. The {q} was {newsky} on {next}, and {b} was there.",
          "{b} slept in the {p} on a {sky} {day}. {then} came a {newsky} {next}, and {b} {went} to the {q}."});
  s.recall("it was {sky} on {day} and {newsky} on {next}");
  s.ask("how was it on {day}", "it was {sky}");
  s.ask("how was it on {next}", "it was {newsky}");
  s.ask("which day was {sky}", "{day}");
}

// A pet runs away and is found.
void pet(Story& s) {
  const Beast& beast = *s.a->beast;
  s.set("pet", s.a->pet);
  s.set("beast", beast.name);
  s.set("young", beast.young);
  s.set("feed", beast.food);
  s.tell({"{a} had a {beast} named {pet}. {pet} ran away to the {q}, and {b} found {pet} there and gave it {feed}.",
          "{pet} was the {beast} of {a}. One night {pet} hid in the {q}, but {feed} brought it back, {said} {b}.",
          "a {beast} called {pet} lived with {a}. In the {q} {b} fed {feed} to {pet} and {pet} had a {young}.",
          "{a} fed {feed} to {pet}, for {pet} was a {beast}. {b} saw {pet} with a {young} in the {q}."});
  s.recall("{pet} the {beast} was in the {q}");
  s.ask("which animal was {pet}", "a {beast}");
  s.ask("what did {pet} eat", "{feed}");
  s.ask("where was {pet}", "in the {q}");
  s.ask("whose was the {beast}", "it was the {beast} of {a}");
}

// {a} and {b} change two things.
void trade(Story& s) {
  s.tell(
      {"{a} gave {his} {noun} to {b}, and {b} gave {bhis} {bnoun} to {a}. Now {a} had the {bnoun}, "
       "and {b} had the {noun}.",
       "{b} liked the {noun} of {a}, so {he} changed it for the {bnoun} of {b}. {b} was {glad} with the {noun}.",
       "the {bnoun} of {b} was changed for the {noun} of {a}. {a} took the {bnoun} to the {p}.",
       "{a} wanted a {bnoun} and {b} wanted a {noun}. {then} {a} got the {bnoun} of {b} for {his} {noun}."});
  s.recall("{b} got the {noun} of {a}");
  s.ask("who had the {noun} at the end", "{b}");
  s.ask("who had the {bnoun} at the end", "{a}");
  s.ask("who had the {noun} at first", "{a}");
}

// What each of them likes to eat.
void meal(Story& s) {
  s.tell({"{a} liked {food}, but {b} liked {bfood}. In the {p} {a} ate {his} {food} and {b} ate {bhis} {bfood}.",
          "there was {food} for {a} and {bfood} for {b} in the {p}. {b} ate the {bfood}, and {a} ate the {food}.",
          "{b} cooked {bfood} in the {p}, but {a} wanted {food}. So {b} ate the {bfood} and {a} made {food}.",
          "\"I like {food},\" {said} {a}. \"I like {bfood},\" {said} {b}. So {a} ate {food} and {b} ate {bfood}."});
  s.recall("{a} ate {food} and {b} ate {bfood}");
  s.ask("what did {a} eat", "{food}");
  s.ask("what did {b} eat", "{bfood}");
  s.ask("who liked {food}", "{a}");
}

constexpr Episode kEpisodes[] = {keep, gain, lose, journey, lesson, work, weather, pet, trade, meal};

}  // namespace

std::span<const Episode> episodes() { return kEpisodes; }

void open_story(Story& s) {
  static constexpr Words kin[2][8] = {
      {"brother", "cousin", "friend", "neighbour", "partner", "rival", "guest", "husband"},
      {"sister", "cousin", "friend", "neighbour", "partner", "rival", "guest", "wife"}};
  s.set("kin", kin[s.b->female ? 1 : 0][s.kin()]);
  s.set("ajob", with_article(s.a->job->name));
  s.set("bjob", with_article(s.b->job->name));
  s.set("homeriver", town_river(s.village.town));
  s.tell({"{a} was {ajob} in {town}. {a} had a {kin}, {b}, who was {bjob}.",
          "In {town} on the {homeriver} lived {a}, {ajob}. {his} {kin} {b} was {bjob}.",
          "There once was {ajob} named {a}. {he} lived in {town} with {his} {kin} {b}, {bjob}.",
          "This is a story of {a} and {b} from {town}. {a} was {ajob}, and {his} {kin} {b} was {bjob}."});
  s.ask("who was the {kin} of {a}", "{b}");
  s.ask("what was {a}", "{ajob}");
  s.ask("what was {b}", "{bjob}");
  s.ask("where did {a} live", "in {town}");
}

}  // namespace sinter::worlds
