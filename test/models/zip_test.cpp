#include "models/interchange/zip.h"

#include "test/check.h"
#include "test/zip_writer.h"

using namespace sinter;
using namespace sinter::test;

namespace {

ZipArchive open(const std::string& file) { return {std::as_bytes(std::span(file)), "x.zip"}; }

std::string text(const ZipArchive::Member* m) {
  return m ? std::string(reinterpret_cast<const char*>(m->data.data()), m->data.size()) : "missing";
}

const std::vector<ZipMember> kTwo{{"r/data.pkl", "pickle"}, {"r/data/0", "01234567"}};

// kTwo with its second member changed.
template <class F>
std::string with(F&& change) {
  auto members = kTwo;
  change(members[1]);
  return zip_file(members);
}

std::string patched(std::string file, std::size_t at, std::string_view bytes) {
  return file.replace(at, bytes.size(), bytes);
}

}  // namespace

TEST_CASE("members of a stored archive are views into it, with 32 and with 64 bits") {
  for (const bool wide : {false, true}) {
    const std::string file = zip_file(kTwo, wide);
    const ZipArchive zip = open(file);
    CHECK(zip.members().size() == 2);
    CHECK(text(zip.find("r/data.pkl")) == "pickle");
    CHECK(text(zip.find("r/data/0")) == "01234567");
    CHECK(zip.find("r/data/1") == nullptr);
    CHECK(zip.find("r/data/0")->data.data() >= std::as_bytes(std::span(file)).data());
  }
  CHECK(open(zip_file({})).members().empty());
}

TEST_CASE("a comment behind the archive, and sizes that follow the data") {
  std::string file = zip_file(kTwo);
  file[file.size() - 2] = 5;
  CHECK(open(file + "PK\5\6!").members().size() == 2);
  file = with([](ZipMember& m) { m.flags = 8; });
  const std::size_t second = file.find("PK\3\4", 4);
  CHECK(text(open(patched(file, second + 18, std::string(8, '\0'))).find("r/data/0")) == "01234567");
  CHECK_THROWS_TEXT(input, "disagree", open(patched(zip_file(kTwo), second + 18, std::string(8, '\0'))));
}

TEST_CASE("what no archive of PyTorch is") {
  CHECK_THROWS_TEXT(input, "x.zip: is no zip archive", open(""));
  CHECK_THROWS_TEXT(input, "is no zip archive", open(std::string(500, 'P')));
  CHECK_THROWS_TEXT(input, "is no zip archive", open(zip_file(kTwo) + "x"));
  const std::string sound = zip_file(kTwo);
  for (std::size_t n = 0; n < sound.size(); ++n) CHECK_THROWS_CODE(input, open(sound.substr(0, n)));
  CHECK_THROWS_TEXT(input, "r/data/0 is compressed (method 8)", open(with([](ZipMember& m) { m.method = 8; })));
  CHECK_THROWS_TEXT(input, "r/data/0 is encrypted", open(with([](ZipMember& m) { m.flags = 1; })));
}

TEST_CASE("names that could lead astray") {
  for (const char* name : {"", "/abs", "r/../x", "..", "a\\b", "line\nbreak"})
    CHECK_THROWS_TEXT(input, "no sound name", open(zip_file({{name, "x"}})));
  CHECK_THROWS_TEXT(input, "no sound name", open(zip_file({{std::string(60000, 'a'), "x"}})));
  CHECK_THROWS_TEXT(input, "stands twice", open(zip_file({{"a", "x"}, {"a", "y"}})));
  CHECK_THROWS_TEXT(input, "disagree", open(with([](ZipMember& m) { m.local_name = "r/data/1"; })));
}

TEST_CASE("members that overlap or lie outside") {
  CHECK_THROWS_TEXT(input, "reaches beyond", open(with([](ZipMember& m) { m.larger = 1; })));
  CHECK_THROWS_TEXT(input, "reaches beyond", open(with([](ZipMember& m) { m.larger = 0x7fffff00; })));
  CHECK_THROWS_TEXT(input, "reaches beyond", open(with([](ZipMember& m) { m.shift = 0x7fffff00; })));
  CHECK_THROWS_TEXT(input, "has no header", open(with([](ZipMember& m) { m.shift = 1; })));
  auto members = kTwo;  // the second inside of the first
  members[0].data = std::string(100, 'x');
  const std::string inner = zip_file({kTwo[1]}).substr(0, 46);
  members[0].data.replace(20, inner.size(), inner);
  members[1].shift = -(8 + 46 + 100) + 40 + 20 + 8;
  CHECK_THROWS_CODE(input, open(zip_file(members)));
  members = {{"a", std::string(31, 'x')}, {"b", "y"}};
  const std::string b = zip_file({{"b", "y"}}).substr(0, 31);
  members[0].data.replace(0, 30, b.substr(0, 30));
  members[0].data[30] = 'b';
  members[1].shift = -31;
  CHECK_THROWS_TEXT(input, "overlap", open(zip_file(members)));
}

TEST_CASE("a directory that disagrees with itself") {
  const std::string file = zip_file(kTwo), wide = zip_file(kTwo, true);
  const std::size_t end = file.size() - 22, wide_end = wide.size() - 22;
  CHECK_THROWS_TEXT(input, "on several disks", open(patched(file, end + 4, "\1")));
  CHECK_THROWS_TEXT(input, "on several disks", open(patched(file, end + 8, "\1")));
  CHECK_THROWS_TEXT(input, "cannot hold 65280 members", open(patched(file, end + 8, std::string("\0\xff\0\xff", 4))));
  const std::string roomy = zip_file({{std::string(90, 'a'), "x"}});
  CHECK_THROWS_TEXT(input, "no zip directory entry", open(patched(file, file.find("PK\1\2"), "x")));
  CHECK_THROWS_TEXT(input, "reaches beyond", open(patched(roomy, roomy.size() - 14, std::string("\2\0\2\0", 4))));
  CHECK_THROWS_TEXT(input, "does not end at", open(patched(file, end + 12, "\xff")));
  CHECK_THROWS_TEXT(input, "it says at", open(patched(file, end + 8, std::string("\1\0\1\0", 4))));
  CHECK_THROWS_TEXT(input, "disagree", open(patched(wide, wide_end + 10, std::string("\1\0", 2))));
  const std::size_t locator = wide_end - 20, record = locator - 56;
  CHECK_THROWS_TEXT(input, "is missing", open(patched(wide, locator + 8, std::string(8, '\xff'))));
  const std::string huge(8, '\xff');
  CHECK_THROWS_TEXT(input, "cannot hold", open(patched(wide, record + 24, huge + huge)));
  CHECK_THROWS_TEXT(input, "does not end at", open(patched(wide, record + 40, huge)));
  CHECK_THROWS_TEXT(input, "does not end at", open(patched(wide, record + 48, huge)));
}

TEST_CASE("zip64 fields with values beyond the file") {
  const std::string file = zip_file(kTwo, true);
  const std::size_t entry = file.rfind("PK\1\2"), field = entry + 46 + 8 + 4;  // the name has 8 characters
  for (const std::size_t at : {field, field + 8, field + 16}) {
    CHECK_THROWS_CODE(input, open(patched(file, at, std::string(8, '\xff'))));
    CHECK_THROWS_CODE(input, open(patched(file, at, std::string("\0\0\0\0\0\0\0\x80", 8))));
  }
  CHECK_THROWS_CODE(input, open(patched(file, field - 2, std::string("\x08\0", 2))));  // too short for three values
  CHECK_THROWS_CODE(input, open(patched(file, field - 2, std::string("\xff\xff", 2))));
}
