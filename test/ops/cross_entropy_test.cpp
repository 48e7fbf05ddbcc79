#include "ops/cross_entropy.h"

#include "ops/elementwise.h"
#include "test/check.h"
#include "test/ops/plain_weight.h"

using namespace sinter;
using namespace sinter::test;

namespace {

using Targets = std::vector<std::int32_t>;

Targets targets_for(std::int64_t rows, std::int64_t vocabulary) {  // every fourth row does not count
  Targets t;
  for (std::int64_t i = 0; i < rows; ++i) t.push_back(i % 4 == 3 ? -1 : std::int32_t(i * 6151 % vocabulary));
  return t;
}

struct Results {
  Tensor loss, dh, dw;
};

struct Problem {
  Tensor h, w;
  Targets targets;
  Problem(std::int64_t rows, std::int64_t vocabulary, std::int64_t d, DType dtype)
      : h(cast(randn({rows, d}, 1, DType::f32), dtype)),
        w(cast(randn({vocabulary, d}, 2, DType::f32), dtype)),
        targets(targets_for(rows, vocabulary)) {}

  // factor · loss
  template <class Form>
  Results trainable(Form form, double factor = 1) const {
    const Param h_param("h", h), w_param("w", w);
    Tape tape;
    const Var loss = scale(form(tape.leaf(h_param), HeadWeight(tape.leaf(w_param)), targets), factor);
    const Grads g = std::move(tape).backward(loss, ones({1}, h.dtype()));
    return {loss.value(), *g.find(h_param), *g.find(w_param)};
  }
  template <class Form>
  Results frozen(Form form) const {
    const Param h_param("h", h);
    Tape tape;
    const Var loss = form(tape.leaf(h_param), HeadWeight(std::make_shared<PlainWeight>(w)), targets);
    const Grads g = std::move(tape).backward(loss, ones({1}, h.dtype()));
    CHECK(g.size() == 1);
    return {loss.value(), *g.find(h_param), {}};
  }
};

const auto kFused = [](const Var& h, const HeadWeight& w, const Targets& t) { return cross_entropy(h, w, t); };
const auto kComposed = [](const Var& h, const HeadWeight& w, const Targets& t) {
  return cross_entropy_composed(h, w, t);
};

// One chunk twice; the rows in three parts; the vocabulary in five, the rows in two.
const std::vector<Shape> kSizes{{1, 5, 3}, {37, 301, 16}, {1500, 2100, 8}, {1500, 5001, 8}};

}  // namespace

TEST_CASE("Cross-entropy in chunks is the one over explicit logits") {
  for (const Shape& s : kSizes) {
    CAPTURE(s[0]);
    const Problem wide(s[0], s[1], s[2], DType::f64), narrow(s[0], s[1], s[2], DType::f32);
    const Results exact = wide.trainable(kComposed);
    const Results f64 = wide.trainable(kFused), frozen = wide.frozen(kFused);
    CHECK(nmse(f64.loss, exact.loss) < 1e-28);
    CHECK(distance(f64.dh, exact.dh) < 1e-12);
    CHECK(distance(f64.dw, exact.dw) < 1e-12);
    CHECK(same_bits(frozen.loss, f64.loss));
    CHECK(same_bits(frozen.dh, f64.dh));
    const Results f32 = narrow.trainable(kFused);  // logits of size 4 round to 3e-7
    CHECK(nmse(f32.loss, exact.loss) < 1e-13);
    CHECK(nmse(f32.dh, exact.dh) < 1e-12);
    CHECK(nmse(f32.dw, exact.dw) < 1e-12);  // sums of up to 1125 rows
  }
}

TEST_CASE("The gradients are scaled by the cotangent of the loss") {
  const Problem p(37, 301, 16, DType::f64);
  const Results once = p.trainable(kFused), scaled = p.trainable(kFused, -0.25);
  CHECK(same_bits(scaled.dh, scale(once.dh, -0.25).value()));
  CHECK(same_bits(scaled.dw, scale(once.dw, -0.25).value()));
}

TEST_CASE("Rows that do not count change nothing") {
  Problem p(37, 301, 16, DType::f32);
  const Results before = p.frozen(kFused);
  for (std::int64_t t = 3; t < 37; t += 4) {
    Tensor row = Tensor::full({16}, 1e30, DType::f32);
    std::ranges::copy(row.data<float>(), p.h.mutable_data<float>().begin() + t * 16);
    CHECK(distance(before.dh.rows(t, t + 1), Tensor::zeros({1, 16}, DType::f32)) == 0);
  }
  CHECK(same_bits(p.frozen(kFused).loss, before.loss));
  p.targets.assign(37, -1);
  const Results none = p.frozen(kFused);
  CHECK(value_at(none.loss, 0) == 0);
  CHECK(distance(none.dh, Tensor::zeros({37, 16}, DType::f32)) == 0);
}

TEST_CASE_TEMPLATE("The losses of the tokens add up to the loss", T, float, double) {
  const Problem p(1500, 2100, 8, dtype_of<T>);
  const HeadWeight head{Var(p.w)};
  const Tensor each = token_nll(p.h, head, p.targets);
  double total = 0;
  for (std::int64_t t = 0; t < 1500; ++t) {
    total += value_at(each, t);
    if (p.targets[std::size_t(t)] < 0) CHECK(value_at(each, t) == 0);
  }
  CHECK(each.dtype() == dtype_of<T>);
  CHECK(value_at(cross_entropy(p.h, head, p.targets).value(), 0) == doctest::Approx(total).epsilon(1e-7));
  const Targets one{p.targets[5]};
  CHECK(value_at(cross_entropy_composed(p.h.rows(5, 6), head, one).value(), 0) ==
        doctest::Approx(value_at(each, 5)).epsilon(1e-6));
}

TEST_CASE("Cross-entropy stands logits far beyond the range of exp") {
  const Tensor h = Tensor::full({1, 1}, 1e4, DType::f32);
  const Tensor w = Tensor::of<float>({3, 1}, std::vector<float>{-1, 1, 0.5});
  CHECK(value_at(token_nll(h, Var(w), Targets{1}), 0) == 0);
  CHECK(value_at(token_nll(h, Var(w), Targets{2}), 0) == 5000);
}

TEST_CASE("With bf16 arithmetic the loss is that of rounded factors") {
  Problem p(300, 2100, 8, DType::f32);
  const auto rounded = [&](const Var& h, const HeadWeight& w, const Targets& t) {
    return cross_entropy(h, w, t, Compute::bf16);
  };
  const Results bf16_results = p.trainable(rounded);
  p.h = cast(cast(p.h, DType::bf16), DType::f32);
  p.w = cast(cast(p.w, DType::bf16), DType::f32);
  const Results f32 = p.trainable(kFused);
  CHECK(nmse(bf16_results.loss, f32.loss) < 1e-12);
  CHECK(nmse(bf16_results.dh, f32.dh) < 1e-4);  // probabilities rounded to 8 bits
  CHECK(nmse(bf16_results.dw, f32.dw) < 1e-4);
}

TEST_CASE("The full logits never exist, forward or backward") {
  const std::int64_t rows = 256, vocabulary = 32000, d = 64;
  const Problem p(rows, vocabulary, d, DType::f32);
  const auto head = std::make_shared<PlainWeight>(p.w);
  const Param h("h", p.h);
  Allocator& memory = allocator_of({});
  memory.reset_peak();
  const std::size_t before = memory.stats().live;
  Tape tape;
  const Var loss = cross_entropy(tape.leaf(h), HeadWeight(head), p.targets);
  (void)std::move(tape).backward(loss, ones({1}, DType::f32));
  const std::size_t full = rows * vocabulary * sizeof(float);
  CHECK(memory.stats().largest <= std::size_t(4) << 20);
  CHECK(memory.stats().largest < full / 4);
  CHECK(memory.stats().peak - before < full / 4);
}

TEST_CASE("Cross-entropy names what does not fit") {
  const Tensor h = Tensor::zeros({2, 4}, DType::f32), w = Tensor::zeros({3, 4}, DType::f32);
  CHECK_THROWS_TEXT(usage, "target 3 in a vocabulary of 3", cross_entropy(h, Var(w), Targets{0, 3}));
  CHECK_THROWS_TEXT(usage, "target -2", token_nll(h, Var(w), Targets{0, -2}));
  CHECK_THROWS_TEXT(shape, "1 targets for 2 rows", cross_entropy(h, Var(w), Targets{0}));
  CHECK_THROWS_TEXT(shape, "head of width 5", cross_entropy(h, Var(Tensor::zeros({3, 5}, DType::f32)), Targets{0, 0}));
  CHECK_THROWS_CODE(dtype, cross_entropy(h, Var(cast(w, DType::f64)), Targets{0, 0}));
  CHECK_THROWS_CODE(dtype, cross_entropy(cast(h, DType::f64), Var(cast(w, DType::f64)), Targets{0, 0}, Compute::bf16));
}
