#include "train/data/calibration.h"

#include <doctest/doctest.h>

#include "core/file.h"
#include "test/check.h"
#include "test/temp_dir.h"
#include "train/data/make_tokenizer.h"
#include "train/data/python_random.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// A tokenizer that makes <s>, a space and k digits of a text of k digits: k + 2 tokens.
struct Digits {
  Digits() {
    std::string text;
    for (int i = 0; i < 400; ++i) text += "word" + std::to_string(i % 17) + " and more of it. ";
    make_tokenizer(text, 290, dir.path());
    tokenizer = Tokenizer::load(dir.path());
  }
  static std::string text(int digits, int salt) {
    std::string t;
    for (int i = 0; i < digits; ++i) t += char('0' + (i * (salt + 3) + i / 7) % 10);
    return t;
  }
  TempDir dir;
  std::shared_ptr<const Tokenizer> tokenizer;
};

std::vector<std::int32_t> part(const std::vector<std::int32_t>& ids, std::int64_t at, std::int64_t length) {
  return {ids.begin() + at, ids.begin() + at + length};
}

constexpr CalibrationStyle kStyles[] = {CalibrationStyle::sparsegpt, CalibrationStyle::wanda, CalibrationStyle::gptq};

}  // namespace

TEST_CASE("Python's generator: seeds of one and two words, getrandbits, randint") {
  struct Vector {
    std::uint64_t seed;
    std::vector<std::uint64_t> words, draws;
    std::int64_t small;
    std::uint64_t bits40, bits64, wide;
    std::uint32_t last;  // the 2000th word of a fresh generator
  };
  // Made by CPython 3.11's random.Random(seed).
  const Vector vectors[] = {
      {0,
       {3626764237, 1654615998, 3255389356},
       {220500, 21225, 135746, 268055},
       0,
       1011056493432,
       15308084094301570617u,
       6341935620,
       3908016617},
      {42,
       {2746317213, 478163327, 107420369},
       {144194, 128393, 117026, 73158},
       2,
       743469555623,
       16457808150190122675u,
       2342331444,
       1557724698},
      {4294967295,
       {2728839433, 2661025012, 872737089},
       {112901, 318435, 273886, 152743},
       1,
       1058022363142,
       12402786996002542852u,
       5496086115,
       2640887251},
      {4294967296,
       {485306839, 1508871100, 1794561286},
       {8743, 11965, 320718, 173807},
       3,
       1093265061770,
       258223228301488196,
       593069562,
       4134838374},
      {18446744073709551615u,
       {93740670, 1068495656, 1452108352},
       {324403, 111132, 239108, 322503},
       -3,
       991792005364,
       14166965630497767659u,
       3189129643,
       4117718281},
  };
  for (const Vector& v : vectors) {
    CAPTURE(v.seed);
    PythonRandom random(v.seed), fresh(v.seed);
    for (const std::uint64_t word : v.words) CHECK(random.bits(32) == word);
    for (const std::uint64_t draw : v.draws) CHECK(random.below(356317) == draw);
    CHECK(random.between(-3, 3) == v.small);
    CHECK(random.bits(40) == v.bits40);
    CHECK(random.bits(64) == v.bits64);
    CHECK(random.between(0, std::int64_t(1) << 33) == std::int64_t(v.wide));
    CHECK(random.between(5, 5) == 5);
    std::uint32_t last = 0;
    for (int i = 0; i < 2000; ++i) last = fresh.next();
    CHECK(last == v.last);
  }
  PythonRandom random(0);
  for (const std::uint64_t draw : {201979, 220500, 21225, 135746, 268055, 254766}) CHECK(random.below(356317) == draw);
}

TEST_CASE("Windows of documents: drawn until one is long enough, every rejected one consumes its draws") {
  const Digits d;
  std::string records;
  std::vector<std::vector<std::int32_t>> ids;
  for (const int k : {60, 5, 48, 100, 7, 49, 50, 200}) {
    const std::string document = Digits::text(k, int(ids.size()));
    records += "{\"text\": \"" + document + "\"}\n";
    ids.push_back(d.tokenizer->encode(document));
    REQUIRE(std::int64_t(ids.back().size()) == k + 2);
  }
  write_text_atomic(d.dir / "c.jsonl", records);
  // (document, place) by CPython 3.11's random with get_c4's loop, T = 50, `>` for all (one document has exactly 50).
  const std::pair<std::uint64_t, std::vector<std::pair<int, int>>> expected[] = {
      {0, {{6, 1}, {0, 4}, {7, 103}, {7, 91}, {3, 32}, {5, 0}, {5, 0}, {5, 0}, {7, 113}, {0, 8}}},
      {4294967301, {{7, 72}, {0, 5}, {7, 90}, {3, 20}, {3, 32}, {6, 1}, {6, 0}, {5, 0}, {6, 0}, {6, 0}}},
  };
  for (const auto& [seed, draws] : expected)
    for (const CalibrationStyle style : kStyles) {
      const Windows got = calibration_like(style, d.dir / "c.jsonl", *d.tokenizer, 10, 50, seed);
      REQUIRE(got.size() == draws.size());
      for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(got[i] == part(ids[std::size_t(draws[i].first)], draws[i].second, 50));
    }
  CHECK_THROWS_TEXT(input, "no document of more than 202",
                    calibration_like(CalibrationStyle::gptq, d.dir / "c.jsonl", *d.tokenizer, 1, 202, 3));
}

TEST_CASE("Windows of plain text: rows joined as each script joins WikiText, one draw for each") {
  const Digits d;
  const std::string row = Digits::text(98, 0);
  write_text_atomic(d.dir / "w.txt", row + "\n\n" + row + "\n" + row);
  for (const CalibrationStyle style : kStyles) {
    const std::string join = style == CalibrationStyle::gptq ? "\n\n" : " ";
    const auto ids = d.tokenizer->encode(row + "\n" + join + join + row + "\n" + join + row + "\n");
    const Windows got = calibration_like(style, d.dir / "w.txt", *d.tokenizer, 5, 50, 7);
    REQUIRE(got.size() == 5);
    PythonRandom random(7);
    for (const auto& window : got) CHECK(window == part(ids, random.between(0, std::int64_t(ids.size()) - 51), 50));
  }
  CHECK(calibration_like(CalibrationStyle::wanda, d.dir / "w.txt", *d.tokenizer, 5, 50, 7) !=
        calibration_like(CalibrationStyle::gptq, d.dir / "w.txt", *d.tokenizer, 5, 50, 7));
  CHECK_THROWS_TEXT(input, "w.txt",
                    calibration_like(CalibrationStyle::wanda, d.dir / "w.txt", *d.tokenizer, 1, 400, 7));
}

TEST_CASE("Ready windows and unknown names are refused where scripts are imitated") {
  const Digits d;
  write_text_atomic(d.dir / "w.json", "[[1, 2, 3]]");
  CHECK_THROWS_TEXT(usage, "w.json",
                    calibration_like(CalibrationStyle::wanda, d.dir / "w.json", *d.tokenizer, 1, 3, 0));
  CHECK(parse_calibration_style("gptq") == CalibrationStyle::gptq);
  CHECK_THROWS_TEXT(usage, "c4", parse_calibration_style("c4"));
}
