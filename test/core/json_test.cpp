#include "core/json.h"

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/safetensors_index.h"
#include "test/check.h"
#include "test/fuzz/targets.h"
#include "test/temp_dir.h"

namespace sinter {
namespace {

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST_CASE("JSON is read with the order of its keys and written again") {
  const std::string text = R"({"z":1,"a":[1.5,-2,true,null,"é\n"],"unknown":{"b":{},"a":18446744073709551615}})";
  const Json value = parse_json(text, "t");
  CHECK(value.dump() == text);
  CHECK(parse_json(json_text(value), "t") == value);
  CHECK(json_text(value).back() == '\n');
  CHECK(parse_json(" 1 \n", "t") == 1);
  CHECK(parse_json(nested(64), "t").dump() == nested(64));
  CHECK(json_text(Json("\xff")) == "\"\xef\xbf\xbd\"\n");
}

TEST_CASE("what is not JSON is refused with file, line and column") {
  CHECK_THROWS_TEXT(input, "config.json: line 2, column 7: not valid JSON", parse_json("{\n \"a\": x}", "config.json"));
  CHECK_THROWS_TEXT(input, "t: line 1, column 1: not valid JSON", parse_json("", "t"));
  for (const char* text :
       {"{}{}", "[1,]", "{\"a\":1,}", "{'a':1}", "NaN", "01", "+1", "1.", "1e999", "\"\xff\"", "\"\\ud800\"", "\"\n\"",
        "[1", "{\"a\"", "tru", "// c\n1", "\"a", "[1 2]", "\"\xed\xa0\x80\""}) {
    INFO(text);
    CHECK_THROWS_TEXT(input, "not valid JSON", parse_json(text, "t"));
  }
  CHECK_THROWS_TEXT(input, "t: nested deeper than 64 levels", parse_json(nested(65), "t"));
  CHECK_THROWS_TEXT(input, "nested deeper", parse_json(std::string(1000000, '['), "t"));
  CHECK_THROWS_TEXT(input, "t: key \"a\" occurs twice", parse_json(R"({"a":1,"b":2,"a":1})", "t"));
  CHECK_THROWS_TEXT(input, "key \"x\" occurs twice", parse_json(R"([{"y":{"x":1,"\u0078":2}}])", "t"));
}

TEST_CASE("every prefix of a JSON object is refused") {
  const std::string text = json_text(parse_json(fuzz::json_suite().samples[0], "t"));
  const std::size_t end = text.find_last_of('}');
  for (std::size_t n = 0; n <= end; ++n) CHECK_THROWS_CODE(input, parse_json(text.substr(0, n), "t"));
  CHECK_NOTHROW(parse_json(text.substr(0, end + 1), "t"));
}

TEST_CASE("an object of many keys is read in linear time") {
  std::string text = "{";
  for (int i = 0; i < 200000; ++i) text += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":" + std::to_string(i);
  const Json value = parse_json(text + "}", "t");  // minutes, if each key were looked for among those before it
  CHECK(value.size() == 200000);
  CHECK(value.back() == 199999);
}

TEST_CASE("a JSON file is named in errors") {
  test::TempDir dir;
  write_text_atomic(dir / "c.json", "{\"a\":1}");
  CHECK(read_json(dir / "c.json").at("a") == 1);
  write_text_atomic(dir / "c.json", "{");
  CHECK_THROWS_TEXT(input, (dir / "c.json").native() + ": line 1", read_json(dir / "c.json"));
  CHECK_THROWS_TEXT(input, "none.json: cannot be opened", read_json(dir / "none.json"));
}

TEST_CASE("fields have types and ranges") {
  const Json value = parse_json(R"({"n":7,"big":9223372036854775807,"x":1e-5,"b":true,"s":"text","ids":[1,2],
                                    "none":null,"inner":{"factor":8.0,"low":-1}})",
                                "t");
  const JsonFields f("config.json", value);
  CHECK(f.integer("n", 1) == 7);
  CHECK(f.integer("n", 7, 7) == 7);
  CHECK(f.integer("big", 0) == JsonFields::kMax);
  CHECK(f.integer_or("absent", 3, 0) == 3);
  CHECK(f.integer_or("none", 3, 0) == 3);
  CHECK(f.number("x") == 1e-5);
  CHECK(f.number("n") == 7.0);
  CHECK(f.number_or("absent", 0.5) == 0.5);
  CHECK(f.boolean("b"));
  CHECK(f.boolean_or("absent", true));
  CHECK(f.text("s") == "text");
  CHECK(f.text_or("absent", "d") == "d");
  CHECK(f.integers("ids", 0) == std::vector<std::int64_t>{1, 2});
  CHECK(f.integers("n", 0) == std::vector<std::int64_t>{7});
  CHECK(f.object("inner").number("factor") == 8);
  CHECK(f.object("inner").integer("low", JsonFields::kMin) == -1);
  CHECK(f.has("n"));
  CHECK_FALSE(f.has("none"));
  CHECK_FALSE(f.has("absent"));
}

TEST_CASE("a wrong field is named with what was found and expected") {
  const Json value =
      parse_json(R"({"h":"x","n":7,"f":2.0,"neg":-1,"huge":18446744073709551615,"ids":[1,"2"],"list":[1,2,3],
                                    "inner":{"factor":"8"}})",
                 "t");
  const JsonFields f("config.json", value);
  CHECK_THROWS_TEXT(input, "config.json: field h: expected a positive integer, found \"x\"", f.integer("h", 1));
  CHECK_THROWS_TEXT(input, "config.json: field absent: missing", f.integer("absent", 1));
  CHECK_THROWS_TEXT(input, "field n: expected an integer from 8 to 9, found 7", f.integer("n", 8, 9));
  CHECK_THROWS_TEXT(input, "field neg: expected a non-negative integer, found -1", f.integer_or("neg", 0, 0));
  CHECK_THROWS_TEXT(input, "field f: expected an integer, found 2.0", f.integer("f", JsonFields::kMin));
  CHECK_THROWS_TEXT(input, "found 18446744073709551615", f.integer("huge", 0));
  CHECK_THROWS_TEXT(input, "field list: expected a positive integer, found a list of 3", f.integer("list", 1));
  CHECK_THROWS_TEXT(input, "field h: expected a number, found \"x\"", f.number("h"));
  CHECK_THROWS_TEXT(input, "field n: expected true or false, found 7", f.boolean("n"));
  CHECK_THROWS_TEXT(input, "field n: expected a string, found 7", f.text("n"));
  CHECK_THROWS_TEXT(input, "field ids: expected a non-negative integer, found \"2\"", f.integers("ids", 0));
  CHECK_THROWS_TEXT(input, "field n: expected an object, found 7", f.object("n"));
  CHECK_THROWS_TEXT(input, "field inner.factor: expected a number, found \"8\"", f.object("inner").number("factor"));
  CHECK_THROWS_TEXT(input, "config.json: expected a JSON object, found a list of 0",
                    JsonFields("config.json", Json::array()));
}

TEST_CASE("a shard index maps tensors to files of its directory") {
  const auto shards = parse_shard_index(fuzz::index_suite().samples[0], "i");
  CHECK(shards.size() == 2);
  CHECK(shards.at("lm_head.weight") == "model-00001-of-00002.safetensors");
  CHECK(parse_shard_index(R"({"weight_map":{"a":"shard_00.safetensors"}})", "i").at("a") == "shard_00.safetensors");
}

TEST_CASE("a shard index that is broken or leaves its directory is refused") {
  for (const char* name : {"../x", "/etc/passwd", "a/b", "..", "", "a\\u0000b"}) {
    INFO(name);
    CHECK_THROWS_TEXT(input, "i: field weight_map.t: expected a file name",
                      parse_shard_index(R"({"weight_map":{"t":")" + std::string(name) + "\"}}", "i"));
  }
  CHECK_THROWS_TEXT(input, "field weight_map.t: expected the name of a shard, found 1",
                    parse_shard_index(R"({"weight_map":{"t":1}})", "i"));
  CHECK_THROWS_TEXT(input, "expected the name of a shard, found null",
                    parse_shard_index(R"({"weight_map":{"t":null}})", "i"));
  CHECK_THROWS_TEXT(input, "field weight_map: missing", parse_shard_index("{}", "i"));
  CHECK_THROWS_TEXT(input, "field weight_map: expected an object", parse_shard_index(R"({"weight_map":[]})", "i"));
  CHECK_THROWS_TEXT(input, "weight_map is empty", parse_shard_index(R"({"weight_map":{}})", "i"));
  CHECK_THROWS_TEXT(input, "occurs twice", parse_shard_index(R"({"weight_map":{"t":"a","t":"b"}})", "i"));
}

TEST_CASE("mutations of JSON and of a shard index end in a value or an error") {
  for (const auto& suite : {fuzz::json_suite(), fuzz::index_suite()}) {
    const fuzz::Tally tally = fuzz::run_mutations(suite, 1'000'000, 30000);
    CHECK(tally.loaded > 1000);
    CHECK(tally.refused > 10000);
  }
}

}  // namespace
}  // namespace sinter
