#include "ops/concat.h"

#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("A part that occurs several times receives the sum of its gradients") {
  const Param prompt("prompt", randn({1, 2}, 1)), x("x", randn({2, 2}, 2));
  Tape tape;
  const Var p = tape.leaf(prompt), v = tape.leaf(x);
  const Var y = concat_rows(std::array{p, v, p, v, p});
  CHECK(y.shape() == Shape{7, 2});
  for (std::int64_t t : {0, 3, 6}) CHECK(same_bits(y.value().rows(t, t + 1), prompt.value()));
  CHECK(same_bits(y.value().rows(4, 6), x.value()));
  std::vector<double> dy(14);
  for (std::size_t i = 0; i < 14; ++i) dy[i] = double(i);
  const Grads g = std::move(tape).backward(y, Tensor::of<double>({7, 2}, dy));
  CHECK(distance(*g.find(prompt), Tensor::of<double>({1, 2}, std::vector<double>{0 + 6 + 12, 1 + 7 + 13})) == 0);
  CHECK(distance(*g.find(x), Tensor::of<double>({2, 2}, std::vector<double>{2 + 8, 3 + 9, 4 + 10, 5 + 11})) == 0);
}

TEST_CASE("Parts without rows and constants are welcome") {
  const Tensor none = Tensor::zeros({0, 3}, DType::f64), x = randn({2, 3}, 1);
  const Var y = concat_rows(std::array{Var(none), Var(x)});
  CHECK(same_bits(y.value(), x));
  CHECK_FALSE(y.tracked());
}

TEST_CASE("Slices that overlap add their gradients") {
  const Tensor x = randn({5, 3}, 1);
  const auto loss = [](auto& v) { return sum_sq(add(slice_rows(v[0], 0, 3), slice_rows(v[0], 2, 5))); };
  CHECK(grad_error(loss, {x}) < kGradTolerance);
  CHECK(slice_rows(x, 1, 3).value().raw() == x.rows(1, 3).raw());  // no copy
}

TEST_CASE("Joining refuses parts of another width, type or rank") {
  const Var a = randn({2, 3}, 1);
  CHECK_THROWS_TEXT(shape, "concat_rows: [2, 3] and [2, 4]", concat_rows(std::array{a, Var(randn({2, 4}, 1))}));
  CHECK_THROWS_TEXT(dtype, "concat_rows: operands are f64 and f32",
                    concat_rows(std::array{a, Var(randn({2, 3}, 1, DType::f32))}));
  CHECK_THROWS_TEXT(shape, "concat_rows: a part needs rank 2, got [3]", concat_rows(std::array{a, Var(randn({3}, 1))}));
  CHECK_THROWS_CODE(shape, concat_rows(std::span<const Var>{}));
  CHECK_THROWS_CODE(shape, slice_rows(a, 1, 3));
}
