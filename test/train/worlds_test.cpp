#include "train/data/worlds.h"

#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "core/file.h"
#include "core/json.h"
#include "test/check.h"
#include "test/temp_dir.h"
#include "train/data/worlds_lists.h"

using namespace sinter;
using namespace sinter::test;

namespace {

std::uint64_t fnv(const std::string& text) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : text) hash = (hash ^ std::uint8_t(c)) * 0x100000001B3ull;
  return hash;
}

}  // namespace

TEST_CASE("a document depends on seed and index alone, and its bytes are the same everywhere") {
  const std::vector<std::string> some = make_worlds(7, 100, 50);
  const std::vector<std::string> again = make_worlds(7, 120, 5);
  for (int i = 0; i < 5; ++i) CHECK(again[i] == some[20 + i]);
  CHECK(make_world(Rng{7}, 103) == some[3]);
  CHECK(make_worlds(8, 100, 1)[0] != some[0]);
  CHECK(std::set<std::string>(some.begin(), some.end()).size() == 50);
  std::string joined;
  for (const std::string& text : some) joined += text;
  // Changes only when the generator changes on purpose: shipped models were trained on its text.
  CHECK(fnv(joined) == 331770443240933017ull);
}

TEST_CASE("a document is plain text with questions, and ends with a blank line") {
  for (const std::string& text : make_worlds(1, 0, 2000)) {
    CHECK(text.size() >= 200);
    CHECK(text.size() <= 1200);
    CHECK(text.ends_with(".\n\n"));
    CHECK(text.find("\n\n") == text.size() - 2);
    CHECK(text.find("\nQuestion: ") != std::string::npos);
    CHECK(text.find_first_of("{}\t\r") == std::string::npos);
    CHECK(text.find("  ") == std::string::npos);
    for (const char c : text) CHECK((c == '\n' || (c >= ' ' && c <= '~')));
  }
}

TEST_CASE("no held-out document occurs in the training text, whatever the seeds") {
  const std::vector<std::string> train = make_worlds(1, 0, 4000);
  for (const std::uint64_t seed : {1u, 2u}) {
    const std::vector<std::string> held = make_worlds(seed, kHeldOutWorlds, 500);
    CHECK(shared_worlds(train, held) == 0);
  }
  std::vector<std::string> planted = make_worlds(1, kHeldOutWorlds, 10);
  planted[4] = train[17];
  planted[9] = train[3999];
  CHECK(shared_worlds(train, planted) == 2);
}

TEST_CASE("a village goes on: its own documents first, then others of the same people, none twice") {
  const std::uint64_t index = kHeldOutWorlds + 3 * kVillageWorlds;
  const std::vector<std::string> own = make_worlds(1, index, kVillageWorlds);
  const std::vector<std::string> village = make_village(1, index + 5, 400);
  CHECK(std::set<std::string>(village.begin(), village.end()).size() == 400);
  for (std::size_t i = 0; i < own.size(); ++i) CHECK(village[i] == own[i]);
  // Where everybody lives is said or not by the narrator's voice; the town never changes.
  std::set<std::string> homes;
  const std::regex home("Question: Where did \\w+ live\\?\nAnswer: in (\\w+)\\.");
  for (const std::string& text : village) {
    for (std::sregex_iterator m(text.begin(), text.end(), home), end; m != end; ++m) homes.insert((*m)[1]);
  }
  CHECK(homes.size() == 1);
  CHECK(shared_worlds(make_worlds(1, 0, 2000), village) == 0);
  CHECK(make_village(1, index + kVillageWorlds, 1)[0] != village[0]);
}

TEST_CASE("every sum in the text is right and none exceeds twenty") {
  const std::regex sum("([0-9]+) and ([0-9]+) (?:are|made) ([0-9]+)"), rest("([0-9]+) less ([0-9]+) is ([0-9]+)");
  int sums = 0;
  for (const std::string& text : make_worlds(3, 0, 1500)) {
    for (std::sregex_iterator m(text.begin(), text.end(), sum), end; m != end; ++m, ++sums) {
      CHECK(std::stoi((*m)[1]) + std::stoi((*m)[2]) == std::stoi((*m)[3]));
      CHECK(std::stoi((*m)[3]) <= 20);
    }
    for (std::sregex_iterator m(text.begin(), text.end(), rest), end; m != end; ++m, ++sums) {
      CHECK(std::stoi((*m)[1]) - std::stoi((*m)[2]) == std::stoi((*m)[3]));
      CHECK(std::stoi((*m)[2]) < std::stoi((*m)[1]));
    }
  }
  CHECK(sums > 200);
}

TEST_CASE("a question is about its story and its answer is in it") {
  std::set<std::string> kinds;
  for (const WorldQuestion& q : make_questions(1, kHeldOutWorlds, 600)) {
    CHECK(q.context.ends_with(".\n"));
    CHECK(q.question.starts_with("Question: "));
    CHECK(q.question.ends_with("?\nAnswer:"));
    CHECK(q.answer.starts_with(" "));
    CHECK(q.answer.ends_with("."));
    const std::size_t last = q.answer.find_last_of(' ') + 1;
    const std::string word = q.answer.substr(last, q.answer.size() - 1 - last);
    CHECK_MESSAGE(q.context.find(word) != std::string::npos, q.context, q.question, q.answer);
    kinds.insert(q.question.substr(10, q.question.find(' ', 10) - 10));
  }
  for (const char* kind : {"Where", "Who", "What", "Whose", "Which", "How"}) CHECK(kinds.contains(kind));
  // The document of that index holds the same story, question and answer.
  const WorldQuestion q = make_questions(5, 12, 1)[0];
  CHECK(make_worlds(5, 12, 1)[0].starts_with(q.context + q.question + q.answer + "\n"));
}

TEST_CASE("names and towns are all different and towns keep their facts") {
  std::set<std::string> people, towns;
  for (std::uint32_t i = 0; i < worlds::person_names(); ++i) {
    people.insert(worlds::person_name(false, i));
    people.insert(worlds::person_name(true, i));
  }
  CHECK(people.size() == 2 * worlds::person_names());
  for (std::uint32_t t = 0; t < worlds::town_count(); ++t) towns.insert(worlds::town_name(t));
  CHECK(towns.size() == worlds::town_count());
  std::set<std::string> said;  // "which river flows through X" has one answer in all documents
  const std::regex river("river flows through (\\w+)\\?\nAnswer: the (\\w+)\\.");
  for (const std::string& text : make_worlds(9, 0, 3000)) {
    for (std::sregex_iterator m(text.begin(), text.end(), river), end; m != end; ++m) {
      said.insert((*m)[1].str() + " " + (*m)[2].str());
    }
  }
  CHECK(said.size() > 50);
  CHECK(said.size() <= worlds::town_count());
}

TEST_CASE("documents are written as text with blank lines between or as one JSON line each") {
  const TempDir dir;
  NullLog log;
  const std::vector<std::string> texts = make_worlds(4, 10, 20);
  std::string joined;
  for (const std::string& text : texts) joined += text;
  write_worlds(dir / "w.txt", 4, 10, 20, log);
  CHECK(read_text(dir / "w.txt") == joined);
  write_worlds(dir / "w.jsonl", 4, 10, 20, log);
  std::istringstream lines(read_text(dir / "w.jsonl"));
  std::vector<std::string> read;
  for (std::string line; std::getline(lines, line);) read.push_back(parse_json(line, "line")["text"]);
  CHECK(read == texts);
  CHECK_THROWS_CODE(io, write_worlds("/nonexistent/folder/w.txt", 1, 0, 1, log));
}
