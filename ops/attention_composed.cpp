#include "ops/attention_kernels.h"
#include "ops/elementwise.h"
#include "ops/gemm.h"
#include "ops/linear.h"
#include "ops/softmax.h"

namespace sinter {
namespace {

// Where a block lies in a matrix [rows, cols].
struct Block {
  std::int64_t row, rows, col, cols;
  View in(const View& v) const { return v.row_range(row, row + rows).col_range(col, col + cols); }
  ConstView in(const ConstView& v) const { return v.row_range(row, row + rows).col_range(col, col + cols); }
};

void copy(const ConstView& from, const View& to) {
  visit_float(from.dtype(), "attention_composed", [&]<class T>() {
    for (std::int64_t i = 0; i < from.rows(); ++i) std::ranges::copy(from.row<T>(i), to.row<T>(i).begin());
  });
}
Tensor cut(const Tensor& x, const Block& b) {
  Tensor y = Tensor::empty({b.rows, b.cols}, x.dtype(), x.device());
  copy(b.in(ConstView(x)), y);
  return y;
}
Tensor paste(const Tensor& x, const Block& b, const Shape& into) {
  Tensor y = Tensor::zeros(into, x.dtype(), x.device());
  copy(x, b.in(View(y)));
  return y;
}

struct CutOp {
  static constexpr std::string_view name = "cut_block";
  static constexpr std::size_t arity = 1;
  struct Saved {
    Block block;
    Shape whole;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return {paste(dy, s.block, s.whole)}; }
};
struct PasteOp {
  static constexpr std::string_view name = "paste_block";
  static constexpr std::size_t arity = 1;
  struct Saved {
    Block block;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return {cut(dy, s.block)}; }
};
// y = a·b:  da = dy·bᵀ,  db = aᵀ·dy
struct ProductOp {
  static constexpr std::string_view name = "product";
  static constexpr std::size_t arity = 2;
  struct Saved {
    Tensor a, b;
  };
  static Cotangents<2> vjp(const Saved& s, const Tensor& dy, Needs<2> needs) {
    Cotangents<2> d;
    if (needs[0]) d[0] = matmul(dy, Trans::no, s.b, Trans::yes);
    if (needs[1]) d[1] = matmul(s.a, Trans::yes, dy, Trans::no);
    return d;
  }
};

Var cut(const Var& x, const Block& b) { return record<CutOp>({x}, cut(x.value(), b), {b, x.shape()}); }
Var paste(const Var& x, const Block& b, const Shape& into) {
  return record<PasteOp>({x}, paste(x.value(), b, into), {b});
}
Var product(const Var& a, const Var& b) {
  return record<ProductOp>({a, b}, matmul(a.value(), Trans::no, b.value(), Trans::no), {a.value(), b.value()});
}

// Added to the scores: 0 where query i sees key j, j <= kv_len − q_len + i; elsewhere so low that exp gives 0.
Tensor causal_mask(const AttentionSpan& s, DType dtype) {
  Tensor m = Tensor::zeros({s.q_len, s.kv_len}, dtype);
  visit_float(dtype, "attention_composed", [&]<class T>() {
    const View rows(m);
    for (std::int64_t i = 0; i < s.q_len; ++i)
      for (std::int64_t j = s.kv_len - s.q_len + i + 1; j < s.kv_len; ++j) rows.row<T>(i)[std::size_t(j)] = T(-1e30);
  });
  return m;
}

}  // namespace

Var attention_composed(const Var& q, const Var& k, const Var& v, const AttentionShape& a,
                       std::vector<AttentionSpan> spans) {
  check_attention(q, k, v, a, spans);
  const std::int64_t d = a.head_dim;
  Var o = Tensor::zeros(q.shape(), q.value().dtype());
  for (const AttentionSpan& s : spans) {
    if (s.q_len == 0) continue;
    const Var mask = causal_mask(s, q.value().dtype());
    for (std::int64_t h = 0; h < a.heads; ++h) {
      const std::int64_t g = h / (a.heads / a.kv_heads);
      const Block queries{s.q_row, s.q_len, h * d, d}, keys{s.kv_row, s.kv_len, g * d, d};
      const Var scores = add(scale(linear(cut(q, queries), cut(k, keys)), a.scale), mask);
      o = add(o, paste(product(softmax(scores), cut(v, keys)), queries, q.shape()));
    }
  }
  return o;
}

}  // namespace sinter
