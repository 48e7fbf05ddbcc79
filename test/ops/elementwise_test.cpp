#include "ops/elementwise.h"

#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("An operand may be used twice in one op") {
  const Tensor x = randn({3, 5}, 1), r = randn({3, 5}, 2);
  const Param p("x", x);
  Tape tape;
  const Var v = tape.leaf(p);
  const Var square = mul(v, v), twice = add(v, v);
  const Grads g = std::move(tape).backward(add(square, twice), r);
  Tensor expected = x.clone();
  for (double& e : expected.mutable_data<double>()) e = 2 * e + 2;
  CHECK(distance(*g.find(p), mul(expected, r).value()) < 1e-15);  // one rounding of numbers below 10
}

TEST_CASE("A product keeps only the factor that a gradient needs") {
  const std::size_t bytes = 64 * 64 * 8;
  const Param p("x", randn({64, 64}, 1));
  const Tensor constant = randn({64, 64}, 2);
  Allocator& memory = allocator_of({});
  Tape tape;
  Var x = tape.leaf(p);
  const std::size_t before = memory.stats().live;
  for (int i = 0; i < 5; ++i) x = mul(constant, mul(x, randn({64, 64}, 3)));
  CHECK(memory.stats().live - before == 6 * bytes);  // x, and the five random factors
}

TEST_CASE("A gradient that nobody needs is not computed") {
  const Param p("x", randn({64, 64}, 1));
  Tape tape;
  const Var y = add_bias(tape.leaf(p), randn({64}, 2));
  const Tensor seed = randn({64, 64}, 3);
  Allocator& memory = allocator_of({});
  memory.reset_peak();
  const Grads g = std::move(tape).backward(y, seed);
  CHECK(memory.stats().calls == 0);  // the gradient of x is the seed itself
  CHECK(g.find(p)->raw() == seed.raw());
}

TEST_CASE("Elementwise ops refuse operands that do not fit, naming the op and both facts") {
  const Tensor a = randn({3, 5}, 1), b = randn({5, 3}, 2), narrow = randn({3, 5}, 3, DType::f32);
  CHECK_THROWS_TEXT(shape, "add: [3, 5] and [5, 3]", add(a, b));
  CHECK_THROWS_TEXT(shape, "mul: [3, 5] and [5, 3]", mul(a, b));
  CHECK_THROWS_TEXT(dtype, "mul: operands are f64 and f32", mul(a, narrow));
  CHECK_THROWS_TEXT(dtype, "scale: needs f32 or f64, got f16", scale(Tensor::zeros({2}, DType::f16), 1));
  CHECK_THROWS_TEXT(shape, "add_bias: bias [3] for rows of [3, 5]", add_bias(a, randn({3}, 4)));
  CHECK_THROWS_TEXT(shape, "add_bias: bias [1, 5] for rows of [3, 5]", add_bias(a, randn({1, 5}, 4)));
  CHECK_THROWS_TEXT(shape, "add: an operand is empty", add(Var(), a));
}

TEST_CASE("Elementwise ops accept no rows at all") {
  const Tensor none = Tensor::zeros({0, 5}, DType::f32), b = randn({5}, 1, DType::f32);
  CHECK(add(none, none).shape() == Shape{0, 5});
  const Param p("b", b);
  Tape tape;
  const Var y = add_bias(none, tape.leaf(p));
  const Grads g = std::move(tape).backward(y, none);
  CHECK(distance(*g.find(p), Tensor::zeros({5}, DType::f32)) == 0);
}
