#include "ops/embedding.h"

#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("An embedding copies rows, and its gradient adds the rows of repeated ids") {
  const Param table("table", randn({4, 3}, 1, DType::f32));
  const std::array ids{2, 0, 2};
  Tape tape;
  const Var y = embedding(tape.leaf(table), ids);
  for (std::int64_t t = 0; t < 3; ++t)
    CHECK(same_bits(y.value().rows(t, t + 1), table.value().rows(ids[std::size_t(t)], ids[std::size_t(t)] + 1)));
  const Tensor dy = Tensor::of<float>({3, 3}, std::vector<float>{1, 2, 3, 4, 5, 6, 10, 20, 30});
  const Grads g = std::move(tape).backward(y, dy);
  CHECK(distance(*g.find(table),
                 Tensor::of<float>({4, 3}, std::vector<float>{4, 5, 6, 0, 0, 0, 11, 22, 33, 0, 0, 0})) == 0);
}

TEST_CASE("An embedding of no ids has no rows") {
  CHECK(embedding(randn({4, 3}, 1), std::span<const std::int32_t>{}).shape() == Shape{0, 3});
}

TEST_CASE("An id outside the vocabulary is the caller's mistake, named with the vocabulary") {
  const Tensor table = randn({4, 3}, 1);
  CHECK_THROWS_TEXT(usage, "embedding: id 4 with a vocabulary of 4", embedding(table, std::array{0, 4}));
  CHECK_THROWS_TEXT(usage, "embedding: id -1 with a vocabulary of 4", embedding(table, std::array{-1}));
  CHECK_THROWS_CODE(shape, embedding(randn({4}, 1), std::array{0}));
}
