#include "models/interchange/bit_words.h"

#include <vector>

#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

Tensor row(std::vector<std::uint8_t> codes) { return Tensor::of<std::uint8_t>({1, std::int64_t(codes.size())}, codes); }

std::vector<std::uint32_t> words(const Tensor& t) {
  const auto w = t.data<std::int32_t>();
  return {w.begin(), w.end()};
}

// Both ways, as a row and as a column.
void check_words(const std::vector<std::uint8_t>& codes, int bits, const std::vector<std::uint32_t>& expected,
                 WordLayout layout = WordLayout::dense) {
  const std::int64_t n = std::int64_t(codes.size()), W = std::int64_t(expected.size());
  CHECK(words_for(n, bits, layout) == W);
  const Tensor packed = pack_words(row(codes), 1, bits, layout);
  CHECK(words(packed) == expected);
  CHECK(same_bits(unpack_words(packed, 1, n, bits, layout), row(codes)));
  const Tensor down = pack_words(row(codes).reshape({n, 1}), 0, bits, layout);
  CHECK(words(down) == expected);
  CHECK(same_bits(unpack_words(down, 0, n, bits, layout), row(codes).reshape({n, 1})));
}

std::vector<std::uint8_t> repeated(std::vector<std::uint8_t> codes, int times) {
  std::vector<std::uint8_t> all;
  for (int i = 0; i < times; ++i) all.insert(all.end(), codes.begin(), codes.end());
  return all;
}

}  // namespace

TEST_CASE("codes in words are what GPTQ and compressed-tensors write") {
  check_words(repeated({3, 0, 5, 2, 7, 4, 1, 6}, 4), 3, {0x43c67543, 0x7543c675, 0xc67543c6});
  check_words({0, 1, 2, 3, 4, 5, 6, 7}, 4, {0x76543210});
  check_words(repeated({0, 1, 2, 3}, 4), 2, {0xe4e4e4e4});
  check_words({1, 2, 3, 4}, 8, {0x04030201});
  check_words(repeated({8}, 8), 4, {0x88888888});
  check_words(repeated({7}, 8), 4, {0x77777777});
  check_words(repeated({4}, 32), 3, {0x24924924, 0x49249249, 0x92492492});
  check_words(repeated({3}, 32), 3, {0xdb6db6db, 0xb6db6db6, 0x6db6db6d});
  check_words({0, 1, 7, 8, 9, 14, 15, 11}, 4, {0xbfe98710});  // −8 −7 −1 0 1 6 7 3
  const auto ramp = repeated({0, 1, 2, 3, 4, 5, 6, 7}, 4);  // −4 .. 3
  check_words(ramp, 3, {0x88fac688, 0xc688fac6, 0xfac688fa});
  check_words(ramp, 3, {0x08fac688, 0x1a23eb1a, 0x2c688fac, 0x0000003e}, WordLayout::whole);
}

TEST_CASE("codes in words come back for every width, along both sides") {
  const Rng rng{5};
  for (int bits = 1; bits <= 8; ++bits)
    for (const auto layout : {WordLayout::dense, WordLayout::whole})
      for (const int axis : {0, 1}) {
        CAPTURE(bits);
        CAPTURE(axis);
        Tensor codes = Tensor::empty({37, 53}, DType::u8);
        auto c = codes.mutable_data<std::uint8_t>();
        for (std::size_t i = 0; i < c.size(); ++i) c[i] = std::uint8_t(rng.below(i, std::uint64_t(1) << bits));
        const Tensor packed = pack_words(codes, axis, bits, layout);
        CHECK(packed.shape()[axis] == words_for(codes.shape()[axis], bits, layout));
        CHECK(same_bits(unpack_words(packed, axis, codes.shape()[axis], bits, layout), codes));
      }
  CHECK_THROWS_TEXT(usage, "more than 3 bits", pack_words(row({8}), 1, 3));
  CHECK_THROWS_TEXT(usage, "3 bits along axis 1",
                    unpack_words(Tensor::of<std::int32_t>({1, 2}, std::array{0, 0}), 1, 8, 3));
}

TEST_CASE("bytes transpose") {
  Tensor t = Tensor::empty({70, 131}, DType::u8);
  auto x = t.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::uint8_t(i % 251);
  const Tensor turned = transposed_bytes(t);
  CHECK(turned.shape() == Shape{131, 70});
  for (std::int64_t i = 0; i < 70; ++i)
    for (std::int64_t j = 0; j < 131; ++j)
      CHECK(turned.data<std::uint8_t>()[std::size_t(j * 70 + i)] == x[std::size_t(i * 131 + j)]);
}
