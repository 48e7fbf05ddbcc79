#include "ops/attention.h"

#include "ops/attention_kernels.h"
#include "ops/operands.h"

namespace sinter {
namespace {

// p = softmax(scale · q kᵀ), o = p v:  dv = pᵀ dy,  ds = p ⊙ (dy vᵀ − Σ(dy ⊙ o)),  dq = scale · ds k,  dk = scale · dsᵀ q
struct AttentionOp {
  static constexpr std::string_view name = "attention";
  static constexpr std::size_t arity = 3;  // q, k, v
  struct Saved {
    AttentionProblem problem;
    Tensor o, lse;
  };

  static Cotangents<3> vjp(const Saved& s, const Tensor& dy, Needs<3> needs) {
    const auto zeros = [](const Tensor& x) { return Tensor::zeros(x.shape(), x.dtype(), x.device()); };
    const AttentionProblem& p = s.problem;
    Tensor dq, dk, dv;
    if (needs[0]) dq = zeros(p.q);
    if (needs[1] || needs[2]) {
      dk = zeros(p.k);
      dv = zeros(p.v);
    }
    attention_vjp_kernel(p.q.device(), p, {s.o, s.lse, dy}, dq, dk, dv);
    return {std::move(dq), needs[1] ? std::move(dk) : Tensor(), needs[2] ? std::move(dv) : Tensor()};
  }
};

// Every span inside its tensor, no row of q in two spans; where keys receive a gradient, no row of k either.
void check_spans(const std::vector<AttentionSpan>& spans, std::int64_t q_rows, std::int64_t kv_rows, bool disjoint_kv) {
  const auto where = AttentionOp::name;
  std::vector<std::pair<std::int64_t, std::int64_t>> q, kv;
  for (const AttentionSpan& s : spans) {
    require(0 <= s.q_len && s.q_len <= s.kv_len, ErrorCode::shape, where, "span of ", s.q_len, " queries over ",
            s.kv_len, " keys");
    require(0 <= s.q_row && s.q_row <= q_rows - s.q_len, ErrorCode::shape, where, "queries ", s.q_row, " + ", s.q_len,
            " exceed the ", q_rows, " rows of q");
    require(0 <= s.kv_row && s.kv_row <= kv_rows - s.kv_len, ErrorCode::shape, where, "keys ", s.kv_row, " + ",
            s.kv_len, " exceed the ", kv_rows, " rows of k");
    if (s.q_len > 0) q.emplace_back(s.q_row, s.q_len);
    if (s.q_len > 0 && disjoint_kv) kv.emplace_back(s.kv_row, s.kv_len);
  }
  for (auto* rows : {&q, &kv}) {
    std::ranges::sort(*rows);
    for (std::size_t i = 1; i < rows->size(); ++i)
      require((*rows)[i - 1].first + (*rows)[i - 1].second <= (*rows)[i].first, ErrorCode::shape, where,
              "two spans share row ", (*rows)[i].first, rows == &q ? " of q" : " of k");
  }
}

}  // namespace

void check_attention(const Var& q, const Var& k, const Var& v, const AttentionShape& a,
                     const std::vector<AttentionSpan>& spans) {
  const auto where = AttentionOp::name;
  require(a.head_dim > 0 && a.kv_heads > 0 && a.heads > 0 && a.heads % a.kv_heads == 0, ErrorCode::shape, where,
          a.heads, " heads, ", a.kv_heads, " key heads of ", a.head_dim);
  require(q.shape().rank() == 2 && q.shape()[1] == a.heads * a.head_dim, ErrorCode::shape, where, "q ", q.shape(),
          " for ", a.heads, " heads of ", a.head_dim);
  require(k.shape().rank() == 2 && k.shape()[1] == a.kv_heads * a.head_dim && k.shape() == v.shape(), ErrorCode::shape,
          where, "k ", k.shape(), " and v ", v.shape(), " for ", a.kv_heads, " heads of ", a.head_dim);
  require_alike(where, q.value(), k.value(), v.value());
  check_spans(spans, q.shape()[0], k.shape()[0], k.tracked() || v.tracked());
}

Var attention(const Var& q, const Var& k, const Var& v, const AttentionShape& shape, std::vector<AttentionSpan> spans) {
  check_attention(q, k, v, shape, spans);
  std::erase_if(spans, [](const AttentionSpan& s) { return s.q_len == 0; });
  AttentionProblem problem{q.value(), k.value(), v.value(), shape, std::move(spans)};
  const Tensor& x = problem.q;
  Tensor o = Tensor::zeros(x.shape(), x.dtype(), x.device()), lse;
  if (q.tracked() || k.tracked() || v.tracked())
    lse = Tensor::zeros({shape.heads, x.shape()[0]}, x.dtype(), x.device());
  attention_kernel(x.device(), problem, o, lse);
  if (!lse) return Var(std::move(o));
  return record<AttentionOp>({q, k, v}, o, {std::move(problem), o, lse});
}

}  // namespace sinter
