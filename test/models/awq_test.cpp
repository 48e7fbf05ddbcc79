#include "models/interchange/awq.h"

#include <array>

#include "test/models/interchange_case.h"

using namespace sinter;
using namespace sinter::test;

namespace {

Json awq_label(const std::string& version, int bits = 4) {
  return announced({{"quant_method", "awq"}, {"bits", bits}, {"group_size", 8}, {"version", version}});
}

}  // namespace

TEST_CASE("AWQ files are read with their codes, scales and zeros") {
  for (const char* name : {"awq_g32", "awq_channel"}) check_golden(name);
}

TEST_CASE("AWQ words hold eight outputs in their own order") {
  const std::int32_t word = 0x75316420;
  const ForeignModel m({{"l.qweight", Tensor::of<std::int32_t>({1, 1}, std::array{word})},
                        {"l.qzeros", Tensor::of<std::int32_t>({1, 1}, std::array{word})},
                        {"l.scales", Tensor::full({1, 8}, 0.5, DType::f16)}},
                       awq_label("gemm"));
  const auto w = from_packed(m.packed());
  REQUIRE(w->codes.shape() == Shape{8, 1});
  for (std::uint8_t i = 0; i < 8; ++i) {
    CHECK(w->codes.data<std::uint8_t>()[i] == i);
    CHECK(w->zero.data<std::uint8_t>()[i] == i);
  }
}

TEST_CASE("AWQ: what cannot be read is refused by field or tensor") {
  GoldenLinear g("awq_g32");
  for (const char* version : {"gemv", "gemv_fast", "marlin", "llm-awq"})
    CHECK_THROWS_TEXT(input, version, ForeignModel(g.tensors, awq_label(version)).packed());
  CHECK_THROWS_TEXT(input, "field bits", ForeignModel(g.tensors, awq_label("gemm", 3)).packed());
  g.at("l.qzeros") = Tensor::of<std::int32_t>({1, 4}, std::array{0, 0, 0, 0});
  CHECK_THROWS_TEXT(input, "tensor l.qzeros", g.model().packed());
  g.drop("l.qzeros");
  CHECK_THROWS_TEXT(input, "l.qzeros is missing", g.model().packed());
}
