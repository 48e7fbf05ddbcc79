#include "ops/dropout.h"

#include <cmath>

#include "ops/operands.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

// Elements begin..end; element i is lane i mod 4 of Philox block i / 4. `begin` is a multiple of 4.
template <class T>
void dropout_part(T* y, const T* x, std::int64_t begin, std::int64_t end, std::uint64_t threshold, T gain, Rng rng) {
  for (std::int64_t i = begin; i < end; i += 4) {
    const U32x4 r = philox(rng.seed, rng.stream, std::uint64_t(i / 4));
    const std::int64_t lanes = std::min<std::int64_t>(4, end - i);
    for (std::int64_t j = 0; j < lanes; ++j) y[i + j] = r.v[j] >= threshold ? x[i + j] * gain : T(0);
  }
}

void dropout_cpu(const Tensor& x, double p, Rng rng, Tensor& y) {
  static_assert(kChunk % 4 == 0);
  const auto threshold = std::uint64_t(std::ceil(p * 0x1p32));
  visit_float(x.dtype(), "dropout", [&]<class T>() {
    const T* in = x.data<T>().data();
    T* out = y.mutable_data<T>().data();
    parallel_for(x.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
      dropout_part(out, in, begin, end, threshold, T(1 / (1 - p)), rng);
    });
  });
}

Tensor dropped(const Tensor& x, double p, Rng rng) {
  Tensor y = empty_like(x);
  dropout_kernel(x.device(), x, p, rng, y);
  return y;
}

// dx = dy ⊙ the same mask, drawn again
struct DropoutOp {
  static constexpr std::string_view name = "dropout";
  static constexpr std::size_t arity = 1;
  struct Saved {
    double p;
    Rng rng;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) { return {dropped(dy, s.p, s.rng)}; }
};

}  // namespace

constinit KernelSlot<void(const Tensor&, double, Rng, Tensor&)> dropout_kernel{"dropout", dropout_cpu};

Var dropout(const Var& x, double p, Rng rng) {
  require_alike(DropoutOp::name, x.value());
  require(p >= 0 && p < 1, ErrorCode::usage, DropoutOp::name, "probability ", p, " is not in [0, 1)");
  if (p == 0) return x;
  return record<DropoutOp>({x}, dropped(x.value(), p, rng), {p, rng});
}

}  // namespace sinter
