#include "core/safetensors.h"

#include <cstring>
#include <fstream>

#include "core/file.h"
#include "test/check.h"
#include "test/fuzz/targets.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"

namespace sinter {
namespace {

namespace st = safetensors;
using test::TempDir;

std::string file_of(const std::string& header, const std::string& data = "") {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

st::Reader read(const std::string& bytes) { return st::Reader::parse(bytes.data(), bytes.size(), "f"); }

// Why the file is refused; empty when it is not.
std::string refusal(const std::string& bytes) {
  try {
    read(bytes);
    return "";
  } catch (const st::Failure& failure) {
    CHECK(failure.cause() == st::Cause::file);
    CHECK(std::string(failure.what()) == "f: " + failure.reason());
    return failure.reason();
  }
}

#define CHECK_REFUSED(text, bytes)                                                                    \
  do {                                                                                                \
    const std::string reason_ = refusal(bytes);                                                       \
    CHECK_MESSAGE(reason_.find(text) != std::string::npos, "no \"", text, "\" in \"", reason_, "\""); \
  } while (false)

// One tensor "a" with these fields, and `bytes` bytes of data.
std::string one(const std::string& fields, std::size_t bytes = 4) {
  return file_of("{\"a\":{" + fields + "}}", std::string(bytes, '\1'));
}
std::string f32(const std::string& shape, const std::string& offsets = "[0,4]", std::size_t bytes = 4) {
  return one(R"("dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets, bytes);
}

TEST_CASE("the sample file reads as its writer meant it") {
  const std::string bytes = fuzz::sample_safetensors();
  REQUIRE(bytes.size() == 218);
  const st::Reader r = read(bytes);
  REQUIRE(r.tensors().size() == 3);
  CHECK(r.metadata() == std::map<std::string, std::string>{{"format", "pt"}});
  const st::TensorInfo& b = r.at("b");
  CHECK(b.dtype == st::Dtype::F32);
  CHECK(b.shape == std::vector<std::uint64_t>{2});
  float values[2];
  std::memcpy(values, r.data(b), b.bytes());
  CHECK(values[0] == 1);
  CHECK(values[1] == -2);
  CHECK(r.at("a").shape.empty());
  CHECK(std::memcmp(r.data(r.at("a")), "\x00\x38", 2) == 0);
  CHECK(r.at("e").shape == std::vector<std::uint64_t>{0, 3});
  CHECK(r.at("e").bytes() == 0);
  CHECK(r.find("c") == nullptr);
  CHECK_THROWS_WITH_AS(r.at("c"), "f: has no tensor \"c\"", st::Failure);
  CHECK(r.warning().empty());
}

TEST_CASE("every prefix of the sample is refused as an incomplete download") {
  const std::string bytes = fuzz::sample_safetensors();
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    const std::string needed = n < 8 ? "8" : n < 208 ? "208" : "218";
    CHECK(refusal(bytes.substr(0, n)) ==
          "file is " + std::to_string(n) + " bytes, header needs " + needed + ": the download is incomplete");
  }
  CHECK(refusal(bytes + "x") == "file is 219 bytes, header needs only 218");
}

TEST_CASE("what is valid loads: no tensor, no metadata, padding, any order, unaligned data, sub-byte types") {
  CHECK(read(file_of("{}")).tensors().empty());
  CHECK(read(file_of("{} \t\r\n")).tensors().empty());
  CHECK(read(file_of(R"({"__metadata__":null})")).metadata().empty());
  CHECK(read(file_of(R"({"__metadata__":{}})")).metadata().empty());
  CHECK(refusal(f32("[1]")) == "");
  CHECK(refusal(f32("[]")) == "");
  CHECK(refusal(f32("[9223372036854775807,0]", "[0,0]", 0)) == "");
  CHECK(refusal(one(R"("data_offsets":[0,3],"dtype":"F4","shape":[2,3])", 3)) == "");
  CHECK(refusal(one(R"("data_offsets":[0,3],"dtype":"F6_E2M3","shape":[4])", 3)) == "");
  const std::string bytes = file_of(R"({"z":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}, "y":)"
                                    R"({"dtype":"I16","shape":[1],"data_offsets":[0,2]}})",
                                    "abc");
  const st::Reader r = read(bytes);
  CHECK(r.tensors()[0].name == "y");
  CHECK(std::to_integer<char>(*r.data(r.at("z"))) == 'c');
  CHECK(read(file_of(R"({"\u00e9\ud83d\ude00\/\n":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"))
            .find("\xc3\xa9\xf0\x9f\x98\x80/\n") != nullptr);
}

TEST_CASE("an unknown field is ignored with a warning") {
  const st::Reader r =
      read(one(R"("dtype":"F32","x":[{"y":-1.5e+3},true,null,"\"",0],"shape":[1],"data_offsets":[0,4])"));
  CHECK(r.warning() == "tensor \"a\": unknown field \"x\" ignored");
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  CHECK_REFUSED("nested too deeply", one(R"("x":)" + deep));
  for (const char* value : {"01", "-", "1.", "1e", "tru", "[1,]", "{\"a\"}", "'a'", ""})
    CHECK_REFUSED("header, byte", one(std::string(R"("x":)") + value));
}

TEST_CASE("a header of impossible length or place is refused") {
  std::string huge = file_of("{}");
  huge[7] = '\x7f';
  CHECK_REFUSED("exceeds 100000000", huge);
  std::string almost = file_of("{}");
  const std::uint64_t largest = 100'000'000;
  std::memcpy(almost.data(), &largest, 8);
  CHECK_REFUSED("header needs 100000008", almost);
  CHECK_REFUSED("does not begin with '{'", file_of(""));
  CHECK_REFUSED("does not begin with '{'", file_of(" {}"));
  CHECK_REFUSED("does not begin with '{'", file_of("\xef\xbb\xbf{}"));
  CHECK_REFUSED("does not begin with '{'", file_of("[]"));
  CHECK_REFUSED("unexpected text after", file_of("{}{}"));
  CHECK_REFUSED("unexpected text after", file_of(std::string("{}\0", 3)));
  CHECK_REFUSED("run git lfs pull", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
}

TEST_CASE("text that is not strict UTF-8 or JSON is refused") {
  for (const char* bad : {"\x80", "\xc0\xaf", "\xc1\x81", "\xe0\x9f\x80", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xff"})
    CHECK_REFUSED("not valid UTF-8", file_of("{\"" + std::string(bad) + "\":1}"));
  for (const char* good :
       {"\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    CHECK(refusal(file_of("{\"__metadata__\":{\"" + std::string(good) + "\":\"\"}}")) == "");
  CHECK_REFUSED("surrogate", file_of(R"({"\ud800":1})"));
  CHECK_REFUSED("surrogate", file_of(R"({"\udc00":1})"));
  CHECK_REFUSED("surrogate", file_of(R"({"\ud800\u0041":1})"));
  CHECK_REFUSED("hexadecimal", file_of(R"({"\u12g4":1})"));
  CHECK_REFUSED("unknown escape", file_of(R"({"\x":1})"));
  CHECK_REFUSED("control character", file_of("{\"a\nb\":1}"));
  CHECK_REFUSED("string without end", file_of("{\"a"));
  CHECK_REFUSED("expected", file_of("{\"a\":1}"));
  CHECK_REFUSED("expected", file_of("{,}"));
  CHECK_REFUSED("expected", file_of("{"));
}

TEST_CASE("fields of a tensor have their types") {
  for (const char* shape : {"[1.0]", "[1e0]"}) CHECK_REFUSED("found a fraction or an exponent", f32(shape));
  for (const char* shape : {"[-1]", "[-0]", "[\"1\"]", "[null]", "[1,]"})
    CHECK_REFUSED("expected a non-negative integer", f32(shape));
  CHECK_REFUSED("does not fit 64 bits", f32("[18446744073709551616]"));
  CHECK_REFUSED("leading zero", f32("[01]"));
  CHECK_REFUSED("expected '['", f32("1"));
  std::string shape = "[1";
  for (int i = 0; i < 64; ++i) shape += ",1";
  CHECK_REFUSED("more than 64 dimensions", f32(shape + "]"));
  CHECK_REFUSED("two data_offsets", f32("[1]", "[0]"));
  CHECK_REFUSED("more than two", f32("[1]", "[0,4,4]"));
  CHECK_REFUSED("unknown dtype \"f32\"", one(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])"));
  CHECK_REFUSED("needs dtype, shape and two data_offsets", one(R"("shape":[1],"data_offsets":[0,4])"));
  CHECK_REFUSED("needs dtype, shape", one(R"("dtype":"F32","data_offsets":[0,4])"));
  CHECK_REFUSED("needs dtype, shape", one(R"("dtype":"F32","shape":[1])"));
  CHECK_REFUSED("field shape occurs twice", one(R"("dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4])"));
  CHECK_REFUSED("expected '\"'", file_of(R"({"__metadata__":{"format":1}})"));
}

TEST_CASE("names that occur twice are named") {
  const std::string entry = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK_REFUSED("tensor \"a\" occurs twice", file_of("{" + entry + "," + entry + "}", "x"));
  CHECK_REFUSED("tensor \"a\" occurs twice",
                file_of("{" + entry + R"(,"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "xy"));
  CHECK_REFUSED("__metadata__ occurs twice", file_of(R"({"__metadata__":{},"__metadata__":{}})"));
  CHECK_REFUSED("key \"k\" occurs twice", file_of(R"({"__metadata__":{"k":"1","k":"1"}})"));
}

TEST_CASE("tensors cover the data without hole, overlap or overflow") {
  CHECK_REFUSED("expected to begin at 0", f32("[1]", "[4,8]", 8));
  CHECK_REFUSED("no hole, no overlap", f32("[1]", "[4,0]"));
  const std::string a =
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":)";
  CHECK(refusal(file_of(a + "[2,4]}}", "wxyz")) == "");
  CHECK_REFUSED("tensor \"b\": data_offsets [1, 3], expected to begin at 2", file_of(a + "[1,3]}}", "xyz"));
  CHECK_REFUSED("tensor \"b\": data_offsets [3, 5], expected to begin at 2", file_of(a + "[3,5]}}", "vwxyz"));
  CHECK_REFUSED("tensor \"a\": shape takes 8 bytes, data_offsets give 4", f32("[2]"));
  CHECK_REFUSED("whole number of bytes", one(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", 1));
  CHECK_REFUSED("shape overflows 63 bits", f32("[4294967296,4294967296]", "[0,0]", 0));
  CHECK_REFUSED("shape overflows 63 bits", f32("[4294967296,4294967296,0]", "[0,0]", 0));
  CHECK_REFUSED("shape overflows 63 bits", f32("[0,9223372036854775808]", "[0,0]", 0));
  CHECK_REFUSED("shape overflows 63 bits", f32("[0,4611686018427387904,4]", "[0,0]", 0));
  CHECK_REFUSED("size overflows 64 bits", f32("[4611686018427387904]", "[0,0]", 0));
  CHECK_REFUSED("the download is incomplete", f32("[2]", "[0,8]"));
  CHECK_REFUSED("header needs only", f32("[1]", "[0,4]", 5));
}

TEST_CASE("a hostile name cannot break the line of a message") {
  const std::string reason = refusal(file_of("{\"a\\n" + std::string(10000, 'b') + "\":{\"dtype\":\"X\"}}"));
  CHECK(reason.size() < 300);
  CHECK(reason.find('\n') == std::string::npos);
}

TEST_CASE("what is not a file is refused by name") {
  TempDir dir;
  CHECK_THROWS_WITH_AS(st::Reader::open("/none"), "/none: cannot be opened: No such file or directory", st::Failure);
  CHECK_THROWS_WITH_AS(st::Reader::open("/tmp"), "/tmp: is a directory, expected a file", st::Failure);
  write_text_atomic(dir / "empty", "");
  CHECK_THROWS_AS(st::Reader::open(dir / "empty"), st::Failure);
  write_text_atomic(dir / "ok", fuzz::sample_safetensors());
  CHECK(st::Reader::open(dir / "ok").tensors().size() == 3);
}

TEST_CASE("real checkpoints load") {
  for (const char* name : {"models/stories260K/model.safetensors", "models/babyllama361/model.safetensors"}) {
    SINTER_SHARED_OR_SKIP(path, name);
    const st::Reader r = st::Reader::open(path.native());
    CHECK(r.find("model.embed_tokens.weight") != nullptr);
    CHECK(r.metadata().at("format") == "pt");
  }
}

TEST_CASE("a hundred thousand mutations of the sample end in a load or a refusal") {
  const fuzz::Tally tally = fuzz::run_mutations(fuzz::safetensors_suite(), 1'000'000, 100000);
  CHECK(tally.loaded > 500);
  CHECK(tally.refused > 90000);
}

}  // namespace
}  // namespace sinter
