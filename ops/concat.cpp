#include "ops/concat.h"

#include <vector>

#include "core/basic_kernels.h"
#include "ops/operands.h"

namespace sinter {
namespace {

// to[begin..] = x, rows of equal width
void put_rows(const Tensor& x, Tensor& to, std::int64_t begin) {
  visit_float(x.dtype(), "put_rows", [&]<class T>() {
    const std::int64_t width = to.numel() / std::max<std::int64_t>(to.shape()[0], 1);
    auto* out = reinterpret_cast<std::byte*>(to.mutable_data<T>().data() + begin * width);
    copy_bytes(to.device(), out, x.raw(), x.bytes());
  });
}

// y = [x₁; x₂; ...]:  dx_i = the rows of dy that x_i filled. Any number of operands, hence no fixed arity.
class ConcatRows final : public Pullback {
 public:
  static constexpr std::string_view name = "concat_rows";
  explicit ConcatRows(std::vector<std::int64_t> starts) : starts_(std::move(starts)) {}
  void run(std::span<Tensor> dy, std::span<const bool> needs, std::span<Tensor> dx, Grads&) override {
    for (std::size_t i = 0; i < needs.size(); ++i)
      if (needs[i]) dx[i] = dy[0].rows(starts_[i], starts_[i + 1]);
  }

 private:
  std::vector<std::int64_t> starts_;  // first row of each operand, and the total
};

// y = x[begin..end]:  dx = dy in those rows, 0 elsewhere
struct SliceRowsOp {
  static constexpr std::string_view name = "slice_rows";
  static constexpr std::size_t arity = 1;
  struct Saved {
    Shape x;
    std::int64_t begin;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) {
    Tensor dx = Tensor::zeros(s.x, dy.dtype(), dy.device());
    put_rows(dy, dx, s.begin);
    return {dx};
  }
};

}  // namespace

Var concat_rows(std::span<const Var> parts) {
  require(!parts.empty(), ErrorCode::shape, ConcatRows::name, "nothing to join");
  const Tensor& first = parts[0].value();
  std::vector<std::int64_t> starts{0};
  for (const Var& p : parts) {
    require_alike(ConcatRows::name, first, p.value());
    require_rank(ConcatRows::name, "a part", p.value(), 2);
    require(p.shape()[1] == first.shape()[1], ErrorCode::shape, ConcatRows::name, first.shape(), " and ", p.shape());
    starts.push_back(starts.back() + p.shape()[0]);
  }
  Tensor y = Tensor::empty({starts.back(), first.shape()[1]}, first.dtype(), first.device());
  for (std::size_t i = 0; i < parts.size(); ++i) put_rows(parts[i].value(), y, starts[i]);
  Var out(std::move(y));
  if (Tape* tape = Tape::of(parts))
    tape->node(ConcatRows::name, parts, {&out, 1}, std::make_unique<ConcatRows>(std::move(starts)));
  return out;
}

Var slice_rows(const Var& x, std::int64_t begin, std::int64_t end) {
  require_alike(SliceRowsOp::name, x.value());
  return record<SliceRowsOp>({x}, x.value().rows(begin, end), {x.shape(), begin});
}

}  // namespace sinter
