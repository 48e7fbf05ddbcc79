#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "core/file.h"
#include "core/safetensors.h"
#include "core/tensor_file.h"
#include "test/check.h"
#include "test/fuzz/targets.h"
#include "test/resident.h"
#include "test/temp_dir.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;
namespace st = safetensors;
using test::TempDir;

st::TensorInfo info_of(std::string name, st::Dtype dtype, std::vector<std::uint64_t> shape) {
  return {std::move(name), dtype, std::move(shape), 0, 0};
}

std::vector<st::TensorInfo> sample_infos() {
  return {info_of("e", st::Dtype::F16, {0, 3}), info_of("a", st::Dtype::F16, {}), info_of("b", st::Dtype::F32, {2})};
}

TEST_CASE("the writer's bytes are the reference implementation's, whatever the order of delivery") {
  TempDir dir;
  st::Writer out(dir / "s.safetensors", sample_infos());
  CHECK(out.tensors()[0].name == "b");
  const float b[2] = {1, -2};
  const std::uint16_t half = 0x3800;
  out.append("a", &half, 2);
  out.append("b", b, 3);
  out.append("e", nullptr, 0);
  out.append("b", reinterpret_cast<const char*>(b) + 3, 5);
  CHECK_FALSE(fs::exists(dir / "s.safetensors"));
  out.commit();
  CHECK(read_text(dir / "s.safetensors") == fuzz::sample_safetensors());
}

TEST_CASE("the header orders by element size and name, escapes, sorts the metadata and pads") {
  std::vector<st::TensorInfo> tensors = {info_of("b", st::Dtype::BOOL, {1}),
                                         info_of("x\"\\\n\x01é", st::Dtype::I64, {1}),
                                         info_of("a", st::Dtype::BF16, {2, 1}), info_of("c", st::Dtype::F16, {1})};
  const std::string header = st::make_header(tensors, {{"z", "1"}, {"a", "\t"}});
  CHECK(header.substr(8) == R"({"__metadata__":{"a":"\t","format":"pt","z":"1"},)"
                            R"("x\"\\\n\u0001é":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                            R"("a":{"dtype":"BF16","shape":[2,1],"data_offsets":[8,12]},)"
                            R"("c":{"dtype":"F16","shape":[1],"data_offsets":[12,14]},)"
                            R"("b":{"dtype":"BOOL","shape":[1],"data_offsets":[14,15]}}    )");
  CHECK(header.size() % 8 == 0);
  const std::string file = header + std::string(15, '\0');
  CHECK(st::Reader::parse(file.data(), file.size(), "f").find("x\"\\\n\x01é") != nullptr);
}

TEST_CASE("the writer refuses what the format forbids") {
  const auto header = [](std::vector<st::TensorInfo> t, st::Metadata m = {}) {
    return st::make_header(t, std::move(m));
  };
  const auto a = info_of("a", st::Dtype::U8, {1});
  CHECK_THROWS_AS(header({a, a}), st::Failure);
  CHECK_THROWS_AS(header({info_of("__metadata__", st::Dtype::U8, {1})}), st::Failure);
  CHECK_THROWS_AS(header({info_of("\xff", st::Dtype::U8, {1})}), st::Failure);
  CHECK_THROWS_AS(header({info_of("a", st::Dtype::F4, {3})}), st::Failure);
  CHECK_THROWS_AS(header({info_of("a", st::Dtype::U8, {1ull << 60, 1ull << 60})}), st::Failure);
  CHECK_THROWS_AS(header({a}, {{"k", std::string(100'000'000, 'x')}}), st::Failure);
}

TEST_CASE("a file that is not finished leaves nothing, and its bytes are counted") {
  TempDir dir;
  const std::string path = dir / "s";
  {
    st::Writer out(path, sample_infos());
    out.append("a", "ab", 2);
    CHECK_THROWS_WITH_AS(out.append("a", "c", 1), (path + ": tensor \"a\": more than its 2 bytes were given").c_str(),
                         st::Failure);
    CHECK_THROWS_AS(out.append("q", "c", 1), st::Failure);
    CHECK_THROWS_WITH_AS(out.commit(), (path + ": tensor \"b\": 0 of its 8 bytes were given").c_str(), st::Failure);
  }
  CHECK(fs::is_empty(dir.path()));
  CHECK_THROWS_AS(st::Writer(dir / "none/s", sample_infos()), st::Failure);
  CHECK_THROWS_AS(st::Writer("/dev/full", sample_infos()), st::Failure);
}

TEST_CASE("pages of a mapped file can be given back, those of memory stay") {
  TempDir dir;
  const Tensor w = test::randn({300, 1000}, 3, DType::f32);
  write_tensors(dir / "w.safetensors", {{"w", w}});
  const TensorFile file(dir / "w.safetensors");
  const Tensor mapped = file.tensor("w");
  CHECK(test::same_bits(mapped, w));
  CHECK(test::resident_kib(mapped) >= 1100);
  mapped.rows(100, 200).release_pages();
  CHECK(test::resident_kib(mapped) <= 800);
  mapped.release_pages();
  CHECK(test::resident_kib(mapped) <= 16);
  w.release_pages();
  const Tensor borrowed = Tensor::borrow({1000}, DType::f32, w.raw(), std::make_shared<Tensor>(w));
  borrowed.release_pages();
  CHECK(test::same_bits(mapped, w));
}

TEST_CASE("megabytes of zeros stay holes") {
  TempDir dir;
  Tensor t = Tensor::zeros({4 << 20}, DType::u8);
  t.mutable_data<std::uint8_t>()[(3 << 20) + 7] = 5;
  write_tensors(dir / "zeros.safetensors", {{"t", t}});
  CHECK(test::same_bits(TensorFile(dir / "zeros.safetensors").tensor("t"), t));
  struct stat facts {};
  REQUIRE(::stat((dir / "zeros.safetensors").c_str(), &facts) == 0);
  CHECK(facts.st_size > 4 << 20);
  CHECK(facts.st_blocks * 512 < 3 << 20);
}

TEST_CASE("tensors survive a file and keep it mapped") {
  TempDir dir;
  const Tensor w = test::randn({5, 3}, 1, DType::f32), h = test::randn({4}, 2, DType::bf16);
  const Tensor none = Tensor::zeros({0, 2}, DType::i64);
  write_tensors(dir / "t.safetensors", {{"w", w}, {"h", h}, {"none", none}}, {{"k", "v"}});
  Tensor kept;
  {
    const TensorFile file(dir / "t.safetensors");
    CHECK(file.names() == std::vector<std::string>{"none", "w", "h"});
    CHECK(file.metadata().at("k") == "v");
    CHECK(file.has("w"));
    CHECK_FALSE(file.has("q"));
    CHECK(test::same_bits(file.tensor("h"), h));
    CHECK(file.tensor("none").numel() == 0);
    kept = file.tensor("w");
    CHECK_FALSE(kept.sole_owner());
    CHECK_THROWS_TEXT(input, "t.safetensors: tensor q", file.tensor("q"));
  }
  fs::remove(dir / "t.safetensors");
  CHECK(test::same_bits(kept, w));
  CHECK_THROWS_TEXT(io, "No space left", write_tensors("/dev/full", {{"w", w}}));
}

TEST_CASE("tensors that the engine cannot hold are refused, unaligned ones copied") {
  TempDir dir;
  const auto put = [&](const std::string& header, const std::string& data) {
    const std::uint64_t length = header.size();
    write_text_atomic(dir / "t", std::string(reinterpret_cast<const char*>(&length), 8) + header + data);
    return TensorFile(dir / "t");
  };
  const std::string zero = R"(,"data_offsets":[0,0]}})";
  CHECK_THROWS_TEXT(input, "tensor a", put(R"({"a":{"dtype":"F4","shape":[0])" + zero, "").tensor("a"));
  CHECK_THROWS_TEXT(input, "7 dimensions", put(R"({"a":{"dtype":"U8","shape":[0,1,1,1,1,1,1])" + zero, "").tensor("a"));
  CHECK_THROWS_TEXT(input, "overflows",
                    put(R"({"a":{"dtype":"U8","shape":[0,9223372036854775808])" + zero, "").tensor("a"));
  std::string odd = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  while (odd.size() % 4 != 1) odd += ' ';
  const Tensor copied = put(odd, std::string("\0\0\x80\x3f", 4)).tensor("a");
  CHECK(reinterpret_cast<std::uintptr_t>(copied.raw()) % 4 == 0);
  CHECK(copied.data<float>()[0] == 1);
}

TEST_CASE("a broken file is an input error that names it") {
  TempDir dir;
  CHECK_THROWS_TEXT(input, "none: cannot be opened", TensorFile(dir / "none"));
  write_text_atomic(dir / "cut", fuzz::sample_safetensors().substr(0, 212));
  CHECK_THROWS_TEXT(input, "cut: file is 212 bytes, header needs 218: the download is incomplete",
                    TensorFile(dir / "cut"));
}

}  // namespace
}  // namespace sinter
