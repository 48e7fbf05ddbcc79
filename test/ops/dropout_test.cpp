#include "ops/dropout.h"

#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("Element i is dropped exactly where its 32 random bits lie below p") {
  const Rng rng{12, 34};
  const std::int64_t n = 40001;  // three chunks, the last of a length that no vector divides
  const Tensor x = randn({n}, 1, DType::f32);
  for (const double p : {0.1, 0.5, 0.75, rng.bits(7) * 0x1p-32}) {  // the last: a tie, and element 7 stays
    const Tensor y = dropout(x, p, rng).value();
    std::int64_t wrong = 0, dropped = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const bool keep = double(rng.bits(std::uint64_t(i))) >= p * 0x1p32;
      const float expected = keep ? x.data<float>()[std::size_t(i)] * float(1 / (1 - p)) : 0.f;
      wrong += y.data<float>()[std::size_t(i)] != expected;
      dropped += !keep;
    }
    CHECK(wrong == 0);
    CHECK(std::abs(double(dropped) / double(n) - p) < 5 * std::sqrt(p * (1 - p) / double(n)));  // five deviations
  }
}

TEST_CASE("The gradient passes through the same mask, also when a checkpoint draws it again") {
  const Param p("x", ones({1000}, DType::f32));
  const Segment segment = [](Tape*, std::span<const Var> in) { return dropout(in[0], 0.4, Rng{5, 6}); };
  for (const bool replay : {false, true}) {
    Tape tape;
    const std::array in{tape.leaf(p)};
    const Var y = replay ? checkpoint(&tape, segment, in) : segment(&tape, in);
    const Grads g = std::move(tape).backward(y, ones({1000}, DType::f32));
    CHECK(same_bits(*g.find(p), y.value()));  // x = dy = 1
  }
}

TEST_CASE("Nothing is dropped with probability zero, and all of it is not a probability") {
  const Tensor x = randn({4}, 1);
  CHECK(dropout(x, 0, Rng{}).value().raw() == x.raw());
  for (const double p : {1.0, -0.1, 1.5, std::nan("")})
    CHECK_THROWS_TEXT(usage, "dropout: probability", dropout(x, p, Rng{}));
}
