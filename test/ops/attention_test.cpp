#include "ops/attention.h"

#include "ops/elementwise.h"
#include "ops/isa/kernels.h"
#include "ops/reduce.h"
#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

using Spans = std::vector<AttentionSpan>;

struct Case {
  AttentionShape shape;
  Spans spans;
  std::int64_t q_rows = 0, kv_rows = 0;
  Case(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim, Spans s)
      : shape{heads, kv_heads, head_dim, 1 / std::sqrt(double(head_dim))}, spans(std::move(s)) {
    for (const AttentionSpan& a : spans) {
      q_rows = std::max(q_rows, a.q_row + a.q_len);
      kv_rows = std::max(kv_rows, a.kv_row + a.kv_len);
    }
  }
};

struct Results {
  Tensor o, dq, dk, dv;
};

Tensor operand(std::int64_t rows, std::int64_t cols, std::uint64_t stream, DType dtype) {
  return cast(randn({rows, cols}, stream, DType::f32), dtype);
}

template <class Form>
Results run(Form form, const Case& c, DType dtype) {
  const std::int64_t d = c.shape.head_dim;
  const Param q("q", operand(c.q_rows, c.shape.heads * d, 1, dtype));
  const Param k("k", operand(c.kv_rows, c.shape.kv_heads * d, 2, dtype));
  const Param v("v", operand(c.kv_rows, c.shape.kv_heads * d, 3, dtype));
  Tape tape;
  const Var o = form(tape.leaf(q), tape.leaf(k), tape.leaf(v), c.shape, c.spans);
  const Var loss = sum(mul(o, operand(c.q_rows, c.shape.heads * d, 4, dtype)));
  const Grads g = std::move(tape).backward(loss, ones({1}, dtype));
  return {o.value(), *g.find(q), *g.find(k), *g.find(v)};
}

void check_fused_is_composed(const Case& c) {
  CAPTURE(c.shape.heads);
  CAPTURE(c.shape.kv_heads);
  CAPTURE(c.shape.head_dim);
  CAPTURE(c.spans.back().q_len);
  CAPTURE(c.spans.back().kv_len);
  const Results wide = run(attention, c, DType::f64), exact = run(attention_composed, c, DType::f64);
  CHECK(distance(wide.o, exact.o) < 1e-12);
  CHECK(distance(wide.dq, exact.dq) < 1e-12);
  CHECK(distance(wide.dk, exact.dk) < 1e-12);
  CHECK(distance(wide.dv, exact.dv) < 1e-12);
  const Results narrow = run(attention, c, DType::f32);  // operands of size 1; gradients add up to some hundred terms
  CHECK(distance(narrow.o, exact.o) < 1e-5);
  CHECK(distance(narrow.dq, exact.dq) < 3e-5);
  CHECK(distance(narrow.dk, exact.dk) < 3e-5);
  CHECK(distance(narrow.dv, exact.dv) < 3e-5);
}

}  // namespace

TEST_CASE("Fused attention is the composed one for all lengths and groupings of heads") {
  for (const std::int64_t length : {1, 7, 8, 64, 65, 129})
    for (const auto& [heads, kv_heads] : {std::pair{3, 3}, {4, 2}, {4, 1}})
      check_fused_is_composed({heads, kv_heads, 10, {{0, length, 0, length}}});
}

TEST_CASE("Fused attention is the composed one for all sizes of a head") {
  for (const std::int64_t d : {1, 8, 16, 33, 64, 80, 128}) check_fused_is_composed({2, 1, d, {{0, 70, 0, 70}}});
}

TEST_CASE("Fused attention is the composed one with earlier keys in a cache") {
  for (const std::int64_t q_len : {1, 3, 7, 8, 65})
    for (const std::int64_t before : {1, 15, 64, 100})
      check_fused_is_composed({4, 2, 12, {{0, q_len, 0, q_len + before}}});
  check_fused_is_composed({24, 2, 5, {{0, 7, 0, 50}}});  // 84 (query, head) pairs share a key head
}

TEST_CASE("Fused attention is the composed one for several sequences of unequal length") {
  check_fused_is_composed({4, 2, 9, {{0, 65, 0, 65}, {65, 1, 65, 40}, {66, 130, 105, 131}, {196, 7, 236, 7}}});
  check_fused_is_composed({4, 2, 9, {{71, 65, 0, 65}, {3, 20, 80, 41}}});  // out of order, with gaps
}

TEST_CASE("Rows of q outside every span give zero, and rows no query sees receive no gradient") {
  const Case c(2, 1, 8, {{2, 9, 3, 12}, {14, 1, 20, 4}});
  const Results r = run(attention, c, DType::f32);
  for (const std::int64_t t : {0, 1, 11, 12, 13}) {
    CHECK(distance(r.o.rows(t, t + 1), Tensor::zeros({1, 16}, DType::f32)) == 0);
    CHECK(distance(r.dq.rows(t, t + 1), Tensor::zeros({1, 16}, DType::f32)) == 0);
  }
  for (const std::int64_t t : {0, 2, 15, 19}) {
    CHECK(distance(r.dk.rows(t, t + 1), Tensor::zeros({1, 8}, DType::f32)) == 0);
    CHECK(distance(r.dv.rows(t, t + 1), Tensor::zeros({1, 8}, DType::f32)) == 0);
  }
}

TEST_CASE("A sequence gives the same bits alone and in a batch, whatever lies beyond its rows") {
  const AttentionShape shape{4, 2, 24, 0.2};
  const Tensor q = randn({150, 96}, 1, DType::f32), k = randn({170, 48}, 2, DType::f32);
  const Tensor v = randn({170, 48}, 3, DType::f32);
  const Tensor batch = attention(q, k, v, shape, {{0, 97, 0, 117}, {100, 50, 117, 53}}).value();
  Tensor broken = v.clone();  // only NaN beyond the first sequence's keys
  std::ranges::fill(broken.mutable_data<float>().subspan(117 * 48), NAN);
  const Tensor alone = attention(q.rows(0, 97), k, broken, shape, {{0, 97, 0, 117}}).value();
  CHECK(same_bits(alone, batch.rows(0, 97)));
}

TEST_CASE("One query at a time over a growing cache equals the whole sequence at once") {
  const AttentionShape shape{4, 2, 16, 0.25};
  const Tensor q = randn({90, 64}, 1, DType::f32), k = randn({90, 32}, 2, DType::f32),
               v = randn({90, 32}, 3, DType::f32);
  const Tensor whole = attention(q, k, v, shape, {{0, 90, 0, 90}}).value();
  for (std::int64_t t = 0; t < 90; ++t) {
    const Tensor step = attention(q.rows(t, t + 1), k, v, shape, {{0, 1, 0, t + 1}}).value();
    CHECK(distance(step, whole.rows(t, t + 1)) < 2e-6);  // sums in another order
  }
}

TEST_CASE("Attention stands scores far beyond the range of exp") {
  Tensor q = randn({70, 8}, 1, DType::f32), k = randn({70, 8}, 2, DType::f32);
  for (float& x : q.mutable_data<float>()) x *= 300;
  const Tensor v = randn({70, 8}, 3, DType::f32);
  const AttentionShape shape{1, 1, 8, 1};
  // Scores of size 1000 round to 1e-4, which their exponentials pass on.
  CHECK(distance(attention(q, k, v, shape, {{0, 70, 0, 70}}).value(),
                 attention_composed(q, k, v, shape, {{0, 70, 0, 70}}).value()) < 2e-3);
}

TEST_CASE("The memory of attention is linear in the length") {
  const std::int64_t length = 2048, width = 2 * 16;
  const Case c(2, 2, 16, {{0, length, 0, length}});
  Allocator& memory = allocator_of({});
  memory.reset_peak();
  const std::size_t before = memory.stats().live;
  (void)run(attention, c, DType::f32);
  const MemoryStats after = memory.stats();
  CHECK(after.largest <= 4 * length * width * sizeof(float));  // the most: dq in four parts
  CHECK(after.largest < length * length * sizeof(float) / 8);
  CHECK(after.peak - before < 20 * length * width * sizeof(float));  // copies of q, k, v, o and their gradients
}

TEST_CASE("Every instruction set multiplies tiles, plain and transposed, adding or not") {
  const std::int64_t m = 24, n = 48, k = 37;
  const Tensor a = randn({m, k}, 1, DType::f32), a_t = randn({k, m}, 2, DType::f32), b = randn({k, n}, 3, DType::f32);
  const Tensor before = randn({m, n}, 4, DType::f32);
  for (const CpuKernels* kernels : supported_kernels()) {
    CAPTURE(kernels->name);
    for (const bool transposed : {false, true})
      for (const bool add : {false, true}) {
        Tensor c = before.clone(), exact = Tensor::zeros({m, n}, DType::f64);
        const float* const x = (transposed ? a_t : a).data<float>().data();
        const std::int64_t rs = transposed ? 1 : k, cs = transposed ? m : 1;
        kernels->tile_product(m, n, k, x, rs, cs, b.data<float>().data(), n, c.mutable_data<float>().data(), n, add);
        for (std::int64_t i = 0; i < m * n; ++i) {
          double& sum = exact.mutable_data<double>()[std::size_t(i)];
          if (add) sum = value_at(before, i);
          for (std::int64_t p = 0; p < k; ++p) sum += double(x[i / n * rs + p * cs]) * value_at(b, p * n + i % n);
        }
        CHECK(distance(c, exact) < 1e-5);  // sums of 37 products of size 1
      }
  }
}

TEST_CASE("Attention names what does not fit") {
  const Tensor q = Tensor::zeros({6, 16}, DType::f32), k = Tensor::zeros({8, 8}, DType::f32);
  const AttentionShape shape{4, 2, 4, 0.5};
  CHECK_THROWS_TEXT(shape, "span of 4 queries over 3 keys", attention(q, k, k, shape, {{0, 4, 0, 3}}));
  CHECK_THROWS_TEXT(shape, "exceed the 6 rows of q", attention(q, k, k, shape, {{3, 4, 0, 4}}));
  CHECK_THROWS_TEXT(shape, "exceed the 8 rows of k", attention(q, k, k, shape, {{0, 4, 5, 4}}));
  CHECK_THROWS_TEXT(shape, "share row 2 of q", attention(q, k, k, shape, {{0, 3, 0, 3}, {2, 1, 3, 1}}));
  CHECK_THROWS_TEXT(shape, "q [6, 16] for 3 heads", attention(q, k, k, {3, 1, 4, 1}, {{0, 1, 0, 1}}));
  CHECK_THROWS_TEXT(shape, "4 heads, 3 key heads", attention(q, k, k, {4, 3, 4, 1}, {{0, 1, 0, 1}}));
  CHECK_THROWS_CODE(dtype, attention(q, cast(k, DType::f64), k, shape, {{0, 1, 0, 1}}));
  const Param p("k", k);
  Tape tape;
  CHECK_THROWS_TEXT(shape, "share row 1 of k", attention(q, tape.leaf(p), k, shape, {{0, 2, 0, 2}, {2, 1, 1, 1}}));
}
