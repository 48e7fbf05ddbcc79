#include "core/tape.h"

#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// Core knows no arithmetic, so the tests bring ops of their own.
template <class F>
Tensor map(const Tensor& a, const Tensor& b, F f) {
  Tensor y = Tensor::empty(a.shape(), DType::f64);
  const auto out = y.mutable_data<double>();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = f(a.data<double>()[i], b.data<double>()[i]);
  return y;
}
Tensor times(const Tensor& a, const Tensor& b) {
  return map(a, b, [](double x, double y) { return x * y; });
}

struct MulOp {
  static constexpr std::string_view name = "test_mul";
  static constexpr std::size_t arity = 2;
  struct Saved {
    Tensor a, b;
  };
  static Cotangents<2> vjp(const Saved& s, const Tensor& dy, Needs<2> n) {
    return {n[0] ? times(dy, s.b) : Tensor(), n[1] ? times(dy, s.a) : Tensor()};
  }
};
Var mul(const Var& a, const Var& b) {
  return record<MulOp>({a, b}, times(a.value(), b.value()), {a.value(), b.value()});
}

struct AddOp {
  static constexpr std::string_view name = "test_add";
  static constexpr std::size_t arity = 2;
  struct Saved {};
  static Cotangents<2> vjp(const Saved&, const Tensor& dy, Needs<2>) { return {dy, dy}; }
};
Var add(const Var& a, const Var& b) {
  return record<AddOp>({a, b}, map(a.value(), b.value(), [](double x, double y) { return x + y; }), {});
}

struct TotalOp {
  static constexpr std::string_view name = "test_total";
  static constexpr std::size_t arity = 1;
  struct Saved {
    Shape x;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) {
    return {Tensor::full(s.x, value_at(dy, 0), DType::f64)};
  }
};
Var total(const Var& x) {
  double sum = 0;
  for (const double v : x.value().data<double>()) sum += v;
  return record<TotalOp>({x}, Tensor::full({1}, sum, DType::f64), {x.shape()});
}

// {x + y, x ⊙ y}; counts the cotangents that arrive.
struct PairOp {
  static constexpr std::string_view name = "test_pair";
  static constexpr std::size_t arity = 2;
  static constexpr std::size_t outputs = 2;
  struct Saved {
    Tensor a, b;
    int* arrived;
  };
  static Cotangents<2> vjp(const Saved& s, const std::array<Tensor, 2>& d, Needs<2>) {
    Cotangents<2> dx{d[0], d[0]};
    *s.arrived = int(bool(d[0])) + 2 * int(bool(d[1]));
    if (d[1]) {
      Grads::sum_into(dx[0], times(d[1], s.b));
      Grads::sum_into(dx[1], times(d[1], s.a));
    }
    return dx;
  }
};
std::array<Var, 2> pair(const Var& a, const Var& b, int& arrived) {
  return record<PairOp>({a, b}, {add(a.value(), b.value()).value(), times(a.value(), b.value())},
                        {a.value(), b.value(), &arrived});
}

// What must not compile.
template <class W>
concept HasLeaf = requires(Tape t, W& w) {
  t.leaf(w);
};
static_assert(HasLeaf<Param> && !HasLeaf<Tensor>);
template <class W>
concept HasGrad = requires(Grads g, const W& w, Tensor t) {
  g.add(w, t);
};
static_assert(HasGrad<Param> && !HasGrad<Tensor>);
static_assert(!std::is_copy_constructible_v<Param> && !std::is_copy_constructible_v<Tape>);

const Segment kSquare = [](Tape*, std::span<const Var> in) { return mul(in[0], in[0]); };

}  // namespace

TEST_CASE("Gradients add up over every path from a parameter") {
  const auto loss = [](auto& v) { return total(mul(add(v[0], v[1]), mul(v[0], v[0]))); };
  CHECK(grad_error(loss, {randn({3, 4}, 1), randn({3, 4}, 2)}) < kGradTolerance);
}

TEST_CASE("A tape records nothing for constants, and one leaf for each parameter") {
  const Param p("p", randn({2, 3}, 1));
  Tape tape;
  CHECK_FALSE(mul(p.value(), p.value()).tracked());
  CHECK(tape.size() == 0);
  const Var a = tape.leaf(p), b = tape.leaf(p);
  CHECK(tape.size() == 1);
  const Grads g = std::move(tape).backward(mul(a, b), ones({2, 3}));
  CHECK(g.size() == 1);
  CHECK(distance(*g.find(p), add(p.value(), p.value()).value()) == 0);
}

TEST_CASE("A parameter that does not reach the output has no gradient") {
  const Param p("p", randn({2}, 1)), unused("unused", randn({2}, 2));
  Tape tape;
  const Var x = tape.leaf(p), y = tape.leaf(unused);
  const Var dead = mul(x, y);
  const Grads g = std::move(tape).backward(mul(x, x), ones({2}));
  CHECK(g.size() == 1);
  CHECK(g.find(unused) == nullptr);
}

TEST_CASE("The tape refuses what does not belong to it") {
  const Param p("p", randn({2, 3}, 1)), other("other", randn({2, 3}, 2));
  Tape a, b;
  const Var x = a.leaf(p), y = b.leaf(other);
  CHECK_THROWS_TEXT(tape, "test_add: an input belongs to another tape", add(x, y));
  CHECK_THROWS_CODE(tape, add(y, x));
  CHECK_THROWS_TEXT(tape, "the Var is of another tape", std::move(a).backward(y, y.value()));
  CHECK_THROWS_TEXT(tape, "the Var is a constant", std::move(a).backward(Var(p.value()), p.value()));
  CHECK_THROWS_TEXT(shape, "seed [1] for a value [2, 3]", std::move(a).backward(x, randn({1}, 1)));
  // None of these consumed the tape.
  CHECK(std::move(a).backward(x, p.value()).size() == 1);
  CHECK_THROWS_TEXT(tape, "consumed", std::move(a).backward(x, p.value()));
  CHECK_THROWS_TEXT(tape, "consumed", mul(x, x));
  CHECK_THROWS_TEXT(tape, "consumed", a.leaf(other));
}

TEST_CASE("Backward frees what a node saved as soon as it has passed") {
  const std::size_t bytes = 1000 * 8;
  const Param p("p", randn({1000}, 1));
  Allocator& memory = allocator_of({});
  const std::size_t before = memory.stats().live;
  Tape tape;
  Var x = tape.leaf(p);
  for (int i = 0; i < 20; ++i) x = mul(x, x);
  CHECK(memory.stats().live - before == 20 * bytes);
  memory.reset_peak();
  const Grads g = std::move(tape).backward(x, ones({1000}));
  x = Var();
  CHECK(memory.stats().peak - before <= 25 * bytes);  // and not 40: cotangents replace what was saved
  CHECK(memory.stats().live - before == bytes);  // the gradient
}

TEST_CASE("An op with several outputs hears of those cotangents that arrive") {
  const std::vector<Tensor> at{randn({2, 3}, 1), randn({2, 3}, 2)};
  int arrived = 0;
  const auto both = [&](auto& v) {
    const auto [s, p] = pair(v[0], v[1], arrived);
    return total(mul(s, p));
  };
  CHECK(grad_error(both, at) < kGradTolerance);
  CHECK(arrived == 3);
  CHECK(grad_error([&](auto& v) { return total(mul(pair(v[0], v[1], arrived)[1], v[0])); }, at) < kGradTolerance);
  CHECK(arrived == 2);
  CHECK(grad_error([&](auto& v) { return total(mul(pair(v[0], v[1], arrived)[0], v[0])); }, at) < kGradTolerance);
  CHECK(arrived == 1);
  const auto reused = [&](auto& v) {  // one output feeds two ops
    const Var s = pair(v[0], v[1], arrived)[0];
    return total(mul(s, s));
  };
  CHECK(grad_error(reused, at) < kGradTolerance);
}

TEST_CASE("A shared cotangent is copied before it is added to") {
  const Param p("p", randn({4}, 1)), q("q", randn({4}, 2));
  Tape tape;
  const Var x = tape.leaf(p), y = tape.leaf(q);
  const Tensor seed = randn({4}, 3), kept = seed.clone();
  const Grads g = std::move(tape).backward(add(add(x, y), add(x, x)), seed);
  CHECK(same_bits(seed, kept));
  CHECK(distance(*g.find(q), kept) == 0);
  CHECK(distance(*g.find(p), add(add(kept, kept), kept).value()) < 1e-15);
}

TEST_CASE("A checkpoint gives the gradients of the plain segment, also nested") {
  const std::vector<Tensor> at{randn({2, 3}, 1), randn({2, 3}, 2)};
  const Segment inner = [](Tape*, std::span<const Var> in) { return mul(add(in[0], in[1]), in[0]); };
  const Segment outer = [inner](Tape* t, std::span<const Var> in) {
    const Var y = checkpoint(t, inner, in);
    return mul(y, in[1]);
  };
  const auto loss = [&](auto& v) { return total(checkpoint(Tape::of(v), outer, v)); };
  CHECK(grad_error(loss, at) < kGradTolerance);
  const auto chain = [&](auto& v) {
    Tape* tape = Tape::of(v);
    return total(checkpoint(tape, kSquare, std::array{checkpoint(tape, inner, v)}));
  };
  CHECK(grad_error(chain, at) < kGradTolerance);
}

TEST_CASE("A checkpoint finds the gradients of parameters that its segment uses itself") {
  const Param p("p", randn({2, 3}, 1)), q("q", randn({2, 3}, 2));
  const Segment inner = [&q](Tape* t, std::span<const Var> in) { return mul(in[0], t ? t->leaf(q) : Var(q.value())); };
  const Segment outer = [inner](Tape* t, std::span<const Var> in) { return checkpoint(t, inner, in); };
  for (const Segment& segment : {inner, outer}) {
    Tape constants;  // nothing tracked goes in
    const Var y = checkpoint(&constants, segment, std::array{Var(p.value())});
    CHECK(y.tracked());
    CHECK(constants.size() == 1);
    const Grads g = std::move(constants).backward(y, ones({2, 3}));
    CHECK(g.size() == 1);
    CHECK(distance(*g.find(q), p.value()) == 0);

    Tape twice;  // the same parameter inside and outside
    const Var z = checkpoint(&twice, segment, std::array{twice.leaf(q)});
    const Grads h = std::move(twice).backward(z, ones({2, 3}));
    CHECK(distance(*h.find(q), add(q.value(), q.value()).value()) < 1e-15);
  }
}

TEST_CASE("A checkpoint without anything tracked is a constant") {
  Tape tape;
  const Tensor x = randn({2}, 1);
  CHECK_FALSE(checkpoint(&tape, kSquare, std::array{Var(x)}).tracked());
  CHECK(tape.size() == 0);
  CHECK_FALSE(checkpoint(nullptr, kSquare, std::array{Var(x)}).tracked());
  // Nor does one whose segment ignores what is tracked give it a gradient.
  const Param p("p", x);
  const Segment ignores = [&x](Tape*, std::span<const Var>) { return Var(x); };
  const Var y = checkpoint(&tape, ignores, std::array{tape.leaf(p)});
  if (y.tracked()) CHECK(std::move(tape).backward(y, ones({2})).find(p) == nullptr);
}

TEST_CASE("A checkpoint refuses tracked values that were not passed in, or are of another tape") {
  const Param p("p", randn({2}, 1));
  Tape a, b;
  const Var x = a.leaf(p), y = b.leaf(p);
  const Segment captures = [&x](Tape*, std::span<const Var> in) { return add(in[0], x); };
  CHECK_THROWS_TEXT(tape, "not passed in", checkpoint(&a, captures, std::array{Var(p.value())}));
  CHECK_THROWS_CODE(tape, checkpoint(&a, kSquare, std::array{y}));
  CHECK_THROWS_CODE(tape, checkpoint(nullptr, kSquare, std::array{y}));
}

TEST_CASE("A checkpoint keeps its inputs only") {
  const std::size_t bytes = 1000 * 8;
  const Param p("p", randn({1000}, 1));
  const Segment deep = [](Tape*, std::span<const Var> in) {
    Var x = in[0];
    for (int i = 0; i < 20; ++i) x = mul(x, x);
    return x;
  };
  Allocator& memory = allocator_of({});
  const std::size_t before = memory.stats().live;
  Tape tape;
  const Var y = checkpoint(&tape, deep, std::array{tape.leaf(p)});
  CHECK(memory.stats().live - before == bytes);  // y
}

TEST_CASE("Assigning a value of another shape to a parameter is an error that names it") {
  Param p("prompt", randn({2, 3}, 1));
  CHECK_THROWS_TEXT(shape, "prompt: assign [3, 2] to [2, 3]", p.assign(randn({3, 2}, 1)));
  p.assign(randn({2, 3}, 5));
  CHECK(same_bits(p.value(), randn({2, 3}, 5)));
}
