#include "test/fuzz/targets.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/error.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "core/safetensors_index.h"

namespace sinter::fuzz {

namespace {

void expect(bool ok, const char* what) {
  if (!ok) throw std::logic_error(what);
}

Outcome refused(const Error& error) {
  expect(error.code() == ErrorCode::input, "refused with an error code other than input");
  expect(std::string_view(error.what()).size() < 1000, "the message is too long");
  return Outcome::refused;
}

}  // namespace

Outcome load_safetensors(std::string_view input) {
  try {
    const auto reader = safetensors::Reader::parse(input.data(), input.size(), "input");
    unsigned sum = 0;
    std::uint64_t bytes = 0;
    for (const auto& t : reader.tensors()) {
      const std::byte* data = reader.data(t);
      for (std::uint64_t i = 0; i < t.bytes(); ++i) sum += std::to_integer<unsigned>(data[i]);
      bytes += t.bytes();
      expect(reader.find(t.name) == &t, "a tensor is not found by its name");
    }
    std::uint64_t header = 0;
    for (int i = 7; i >= 0; --i) header = header << 8 | static_cast<unsigned char>(input[static_cast<std::size_t>(i)]);
    expect(8 + header + bytes == input.size(), "the tensors do not cover the data");
    expect(sum <= 255 * bytes, "a byte above 255: the data is not read");
    return Outcome::loaded;
  } catch (const safetensors::Failure& failure) {
    expect(failure.cause() == safetensors::Cause::file, "refused for a cause other than the file");
    expect(failure.reason().size() < 1000, "the message is too long");
    return Outcome::refused;
  }
}

Outcome load_index(std::string_view input) {
  try {
    for (const auto& [tensor, file] : parse_shard_index(input, "input"))
      expect(file.find('/') == file.npos && file != "..", "a shard outside of the directory");
    return Outcome::loaded;
  } catch (const Error& error) { return refused(error); }
}

Outcome load_json(std::string_view input) {
  try {
    const Json value = parse_json(input, "input");
    expect(parse_json(json_text(value), "written") == value, "writing and reading again changes the value");
    return Outcome::loaded;
  } catch (const Error& error) { return refused(error); }
}

std::string sample_safetensors() {
  using namespace std::string_literals;
  return "\xc8\0\0\0\0\0\0\0"s
         R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
         R"("a":{"dtype":"F16","shape":[],"data_offsets":[8,10]},)"
         R"("e":{"dtype":"F16","shape":[0,3],"data_offsets":[10,10]}})"
         "     "
         "\0\0\x80\x3f\0\0\0\xc0\0\x38"s;
}

Suite safetensors_suite() {
  return {"safetensors",
          {sample_safetensors()},
          {"\"__metadata__\":",
           "\"dtype\":",
           "\"shape\":",
           "\"data_offsets\":",
           "\"F4\"",
           "\"F6_E2M3\"",
           "\"BOOL\"",
           "\"F64\"",
           "null",
           "{}",
           "[]",
           "[0,0]",
           "\\ud800",
           "\\u0041",
           "\xed\xa0\x80",
           "\xc0\xaf",
           "\"x\":1,",
           "[[[[[[[[",
           ",\"c\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]}",
           "18446744073709551615"},
          true,
          load_safetensors};
}

Suite index_suite() {
  return {"index",
          {R"({"metadata":{"total_size":1024},"weight_map":{"lm_head.weight":"model-00001-of-00002.safetensors",)"
           R"("model.norm.weight":"model-00002-of-00002.safetensors"}})"},
          {"\"weight_map\":", "\"..\"", "../", "/", "null", "{}", "[[[[[[[[", "\\u0000", "\\u002f", "\\ud800",
           "\"a\":\"b\",", "1"},
          false,
          load_index};
}

Suite json_suite() {
  return {"json",
          {R"({"a":[1,-2,3.5,1e-5,true,false,null],"b":{"c":"text \u00e9\n","d":{}},"e":18446744073709551615})"},
          {"\"a\":1,", "{\"b\":", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "\\ud83d\\ude00", "\\ud800", "1e999", "-0",
           "\xef\xbb\xbf", "\xff"},
          false,
          load_json};
}

}  // namespace sinter::fuzz
