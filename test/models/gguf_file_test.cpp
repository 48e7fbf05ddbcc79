// The container alone: what is read from it, and what is refused.
#include <doctest/doctest.h>

#include "core/file.h"
#include "models/interchange/gguf_header.h"
#include "models/interchange/gguf_layout.h"
#include "test/check.h"
#include "test/temp_dir.h"

using namespace sinter;
using namespace sinter::test;

namespace {

template <class T>
std::string raw(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}
std::string text(std::string_view s) { return raw(std::uint64_t(s.size())) + std::string(s); }
std::string file(std::uint64_t tensors, std::uint64_t keys, const std::string& rest, std::uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(keys) + rest;
}
std::string key(std::string_view name, std::uint32_t type, const std::string& value) {
  return text(name) + raw(type) + value;
}
std::string tensor(std::string_view name, std::vector<std::uint64_t> ne, std::uint32_t type, std::uint64_t offset) {
  std::string out = text(name) + raw(std::uint32_t(ne.size()));
  for (const auto n : ne) out += raw(n);
  return out + raw(type) + raw(offset);
}
std::string padded(std::string s, std::size_t data) {
  s.resize((s.size() + 31) / 32 * 32);
  return s + std::string(data, '\1');
}

struct Place {
  TempDir dir;
  std::filesystem::path write(const std::string& bytes) {
    write_text_atomic(dir / "x.gguf", bytes);
    return dir / "x.gguf";
  }
};

}  // namespace

TEST_CASE("keys of every type and tensors at their offsets come back") {
  GgufHeader h;
  const std::vector<std::string> texts = {"a", "", "\xe2\x96\x81the"};
  const std::vector<std::int32_t> integers = {-1, 7};
  const std::vector<float> reals = {0.5f, -2};
  h.text("t", "Wort");
  h.integer("i", 4000000000);
  h.real("r", 1e-5);
  h.boolean("b", true);
  h.texts("ts", texts);
  h.integers("is", integers);
  h.reals("rs", reals);
  h.tensor("a", ggml_type("F32"), {3});
  h.tensor("b", ggml_type("Q8_0"), {2, 64});
  Place place;
  const GgufFile f(place.write(h.bytes() + std::string(32, '\2') + std::string(160, '\3')));
  CHECK(f.text("t") == "Wort");
  CHECK(f.integer("i", 0, 4000000000) == 4000000000);
  CHECK(float(f.number("r")) == 1e-5f);
  CHECK(f.boolean_or("b", false));
  CHECK(f.texts("ts") == std::vector<std::string_view>(texts.begin(), texts.end()));
  CHECK(f.integers("is") == std::vector<std::int64_t>{-1, 7});
  CHECK(f.numbers("rs") == reals);
  REQUIRE(f.tensors().size() == 2);
  const auto& b = f.tensors().find("b")->second;
  CHECK(b.shape == Shape{2, 64});
  CHECK(b.bytes == 136);
  CHECK(int(b.data[0]) == 3);
  CHECK(int(b.data[-1]) == 2);
  CHECK_THROWS_TEXT(input, "key i is 4000000000, expected 1 to 9", f.integer("i", 1, 9));
  CHECK_THROWS_TEXT(input, "key t is \"Wort\", expected an integer", f.integer("t", 1, 9));
  CHECK_THROWS_TEXT(input, "key x is missing", f.number("x"));
  CHECK_THROWS_TEXT(input, "expected an array of texts", f.texts("is"));
  CHECK_THROWS_TEXT(input, "expected an array", f.integers("i"));
}

TEST_CASE("files that are no GGUF of version 2 or 3 are refused by what they are") {
  Place p;
  CHECK_THROWS_TEXT(input, "does not begin with GGUF", GgufFile(p.write("GGML" + raw(std::uint32_t(3)))));
  CHECK_THROWS_TEXT(input, "version 1, expected 2 or 3", GgufFile(p.write(file(0, 0, "", 1))));
  CHECK_THROWS_TEXT(input, "version 4", GgufFile(p.write(file(0, 0, "", 4))));
  CHECK_THROWS_TEXT(input, "big-endian", GgufFile(p.write(file(0, 0, "", 0x03000000))));
  CHECK_NOTHROW(GgufFile(p.write(file(0, 0, "", 2))));
}

TEST_CASE("keys that lie about themselves are refused") {
  Place p;
  const auto refused = [&](const char* why, std::uint64_t keys, const std::string& rest) {
    CAPTURE(why);
    CHECK_THROWS_TEXT(input, why, GgufFile(p.write(file(0, keys, rest))));
  };
  const std::string one = key("k", 4, raw(std::uint32_t(1)));
  refused("claims 9 keys", 9, one);
  refused("claims 18446744073709551615 keys", ~std::uint64_t(0), one);
  refused("key k occurs twice", 2, one + one);
  refused("unknown type 13", 1, key("k", 13, raw(std::uint64_t(1))));
  refused("array of arrays", 1, key("k", 9, raw(std::uint32_t(9)) + raw(std::uint64_t(1)) + std::string(30, '\0')));
  refused("claims 4611686018427387904 elements", 1,
          key("k", 9, raw(std::uint32_t(4)) + raw(std::uint64_t(1) << 62) + std::string(30, '\0')));
  refused("claims 2305843009213693952 texts", 1,
          key("k", 9, raw(std::uint32_t(8)) + raw(std::uint64_t(1) << 61) + std::string(30, '\0')));
  refused("ends inside", 1, raw(~std::uint64_t(0)) + std::string(20, 'k'));
  refused("ends inside", 1, key("k", 8, raw(~std::uint64_t(0)) + std::string(20, 'k')));
  refused("not UTF-8", 1, key("\xff", 4, raw(std::uint32_t(1))));
  refused("key general.alignment is 24, expected a power of two", 1, key("general.alignment", 4, raw(24)));
}

TEST_CASE("tensors that lie about themselves are refused") {
  Place p;
  const auto refused = [&](const char* why, std::uint64_t count, const std::string& infos, std::size_t data = 4096) {
    CAPTURE(why);
    CHECK_THROWS_TEXT(input, why, GgufFile(p.write(padded(file(count, 0, infos), data))));
  };
  const std::string a = tensor("a", {32, 2}, 0, 0);
  CHECK_NOTHROW(GgufFile(p.write(padded(file(1, 0, a), 256))));
  refused("tensor a occurs twice", 2, a + tensor("a", {32, 2}, 0, 256));
  refused("is at offset 32, expected 256", 2, a + tensor("b", {32}, 0, 32));
  refused("is at offset 1, expected 0", 1, tensor("a", {32}, 0, 1));
  refused("ends inside a tensor", 1, a, 255);
  refused("has type Q4_K", 1, tensor("a", {256}, 12, 0));
  refused("has type IQ2_XXS", 1, tensor("a", {256}, 16, 0));
  refused("unknown type 4", 1, tensor("a", {32}, 4, 0));
  refused("unknown type 99", 1, tensor("a", {32}, 99, 0));
  refused("rows of 48 values, type Q8_0 needs a multiple of 32", 1, tensor("a", {48}, 8, 0));
  refused("5 dimensions", 1, tensor("a", {1, 1, 1, 1, 1}, 0, 0));
  refused("longer than 63 bytes", 1, tensor(std::string(64, 'a'), {32}, 0, 0));
  refused("dimension of 0", 1, tensor("a", {32, 0}, 0, 0));
  refused("too many values", 1, tensor("a", {std::uint64_t(1) << 32, std::uint64_t(1) << 32}, 0, 0));
  refused("too many values", 1, tensor("a", {~std::uint64_t(0)}, 0, 0));
  refused("more than the file has", 1, tensor("a", {std::uint64_t(1) << 40}, 0, 0));
  refused("claims 1000 tensors", 1000, a);
}

TEST_CASE("a file that is cut anywhere is refused, never read beyond its end") {
  GgufHeader h;
  h.text("general.architecture", "llama");
  h.texts("ts", std::vector<std::string>{"ab", "c"});
  h.tensor("a", ggml_type("F16"), {3, 5});
  const std::string whole = h.bytes() + std::string(30, '\1');
  Place p;
  CHECK_NOTHROW(GgufFile(p.write(whole)));
  for (std::size_t n = 1; n < whole.size(); ++n) CHECK_THROWS_CODE(input, GgufFile(p.write(whole.substr(0, n))));
}

TEST_CASE("names are translated both ways, and only those of a LLaMA") {
  CHECK(hf_name("blk.12.attn_q.weight") == "model.layers.12.self_attn.q_proj.weight");
  CHECK(gguf_name("model.layers.12.mlp.down_proj.bias") == "blk.12.ffn_down.bias");
  CHECK(hf_name("output.weight") == "lm_head.weight");
  CHECK(hf_name("output_norm.weight") == "model.norm.weight");
  for (const char* other : {"blk.0.ffn_gate_exps.weight", "blk.x.attn_q.weight", "blk..attn_q.weight",
                            "blk.01.attn_q.weight", "blk.99999999.attn_q.weight", "blk.0", "output.scale", "", "blk."})
    CHECK_FALSE(hf_name(other).has_value());
}
