#include "models/interchange/pickle.h"

#include <sstream>

#include "test/check.h"

using namespace sinter;
using namespace sinter::test;
using namespace std::string_literals;

namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kGlobals[] = {"collections.OrderedDict", "m.f", "m.n.C"};

void with(const std::string& code, void (*look)(const PickleValue&)) {
  look(Pickle(std::as_bytes(std::span(code)), kGlobals, "x.pkl").root());
}
void read(const std::string& code) {
  with(code, [](const PickleValue&) {});
}
std::int64_t integer(const std::string& code) {
  const Pickle p(std::as_bytes(std::span(code)), kGlobals, "x.pkl");
  REQUIRE(p.root().kind == Kind::integer);
  return p.root().integer;
}
std::string repeated(std::size_t n, const std::string& what) {
  std::string all;
  for (std::size_t i = 0; i < n; ++i) all += what;
  return all;
}

}  // namespace

TEST_CASE("numbers of every width") {
  CHECK(integer("\x80\2K\xff.") == 255);
  CHECK(integer("M\xff\xff.") == 65535);
  CHECK(integer("J\xfe\xff\xff\xff.") == -2);
  CHECK(integer("\x8a\0."s) == 0);
  CHECK(integer("\x8a\1\x80.") == -128);
  CHECK(integer("\x8a\2\x80\0."s) == 128);
  CHECK(integer("\x8a\5\0\x5e\xd0\xb2\0."s) == 3000000000);
  CHECK(integer("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.") == INT64_MAX);
  with("\x8a\x09" + std::string(9, '\1') + ".", [](const PickleValue& v) { CHECK(v.kind == Kind::other); });
  with("G" + std::string(8, '\1') + ".", [](const PickleValue& v) { CHECK(v.kind == Kind::other); });
}

TEST_CASE("containers, filled at once and piece by piece") {
  with("](NK\1K\2e\x88"s + "a.", [](const PickleValue& v) {
    CHECK(v.kind == Kind::list);
    REQUIRE(v.items.size() == 4);
    CHECK(v.items[1]->integer == 1);
    CHECK(v.items[3]->kind == Kind::other);
  });
  with("}(X\1\0\0\0aK\1\x8c\1bK\2uX\1\0\0\0cK\3s."s, [](const PickleValue& v) {
    REQUIRE(v.items.size() == 6);
    CHECK(v.find("b")->integer == 2);
    CHECK(v.find("c")->integer == 3);
    CHECK(v.find("d") == nullptr);
  });
  with("(K\1K\2d.", [](const PickleValue& v) { CHECK((v.kind == Kind::dict && v.items.size() == 2)); });
  with("(K\1(K\2t\x89\x85K\1K\2\x86NNN\x87)t.", [](const PickleValue& v) {
    REQUIRE(v.items.size() == 6);
    CHECK(v.items[1]->items.size() == 1);
    CHECK(v.items[2]->items.size() == 1);
    CHECK(v.items[3]->items[1]->integer == 2);
    CHECK(v.items[4]->items.size() == 3);
    CHECK(v.items[5]->items.empty());
  });
}

TEST_CASE("calls stay descriptions, whatever they name") {
  with("cm\nf\n(K\7tRK\5b.", [](const PickleValue& v) {
    CHECK(v.kind == Kind::call);
    REQUIRE(v.items.size() == 3);
    CHECK(v.items[0]->text == "m.f");
    CHECK(v.items[1]->items[0]->integer == 7);
    CHECK(v.items[2]->integer == 5);
  });
  with("\x8c\3m.n\x8c\1C\x93)\x81.", [](const PickleValue& v) { CHECK(v.items[0]->text == "m.n.C"); });
  with("ccollections\nOrderedDict\n)RK\1K\2s}b.",
       [](const PickleValue& v) { CHECK((v.kind == Kind::dict && v.items.size() == 2)); });
  with("K\4\x85Q.", [](const PickleValue& v) {
    CHECK(v.kind == Kind::reference);
    CHECK(v.items[0]->items[0]->integer == 4);
  });
  CHECK_THROWS_TEXT(input,
                    "x.pkl: pickle at 0: names os.system, which is no part of a tensor; nothing of the file was run",
                    read("cos\nsystem\n(X\2\0\0\0lstR."s));
  CHECK_THROWS_TEXT(input, "names posix.system", read("\x8c\5posix\x8c\6system\x93)R."));
  CHECK_THROWS_TEXT(input, "names m.g", read("cm\ng\n."));
  CHECK_THROWS_TEXT(input, "names m.n.f", read("cm.n\nf\n."));
}

TEST_CASE("the memo gives values back, by number in the order of their arrival") {
  with("(]q\0K\1\x94h\0j\1\0\0\0r\2\0\0\0j\2\0\0\0t."s, [](const PickleValue& v) {
    REQUIRE(v.items.size() == 5);
    CHECK(v.items[0] == v.items[2]);
    CHECK((v.items[1] == v.items[3] && v.items[1] == v.items[4] && v.items[1]->integer == 1));
  });
}

TEST_CASE("opcodes beyond the list are refused with their place") {
  int known = 0;
  for (int op = 0; op < 256; ++op) {
    const std::string code = "NN"s + char(op);
    try {
      read(code);
    } catch (const Error& e) {
      CHECK(e.code() == ErrorCode::input);
      char text[64];
      std::snprintf(text, sizeof text, "x.pkl: unsupported pickle opcode 0x%02x at 2", op);
      known += std::string(e.what()) != text;
    }
  }
  CHECK(known == 36);
}

TEST_CASE("soup: what is missing is said, and nothing else happens") {
  std::istringstream soup(
      "  . N NN. (. (N. t. u. e. d. (Nd. }(Nu. Na. ]NNs. }Na. \x85. N\x86. \x87. a. s. R. NR. NNR. cm\nf\nNR. N)R. b. "
      "Nb. NNb. Q. q\0. h\0. Nq\1. j\0\0\0\0. NK M\1 J\1\1\1 X\5\0\0\0abc X\xff\xff\xff\xff \x8c\5ab \x8a\5a Gabc cm "
      "cm\nf NN\x93. \x94. \x80 N(\x85. ]N(a. ](a. cm\nf\n)Rbb. cm\nf\n)RNbNb."s);
  for (std::string code; std::getline(soup, code, ' ');) CHECK_THROWS_CODE(input, read(code));
}

TEST_CASE("limits") {
  CHECK_THROWS_TEXT(input, "marks inside each other", read(repeated(100, "(")));
  CHECK_THROWS_TEXT(input, "values on the stack", read(repeated(70000, "N")));
  CHECK_THROWS_TEXT(input, "more than 262144 values", read("]" + repeated(1 << 18, "]a")));
  CHECK_THROWS_TEXT(input, "is remembered after 0", read("Nr\xff\xff\xff\xff."));
  CHECK_THROWS_TEXT(input, "is remembered after 262144", read("N" + repeated((1 << 18) + 1, "\x94") + "."));
  CHECK_THROWS_TEXT(input, "needs 4294967295 bytes more, 1 are left", read("X\xff\xff\xff\xff."));
  read("N" + repeated(200000, "\x85") + ".");  // deep, but nothing here recurses
}

TEST_CASE("a list that holds itself is no endless loop") {
  with("]q\0h\0a."s, [](const PickleValue& v) { CHECK(v.items[0] == &v); });
}
