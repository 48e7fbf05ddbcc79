#include <cstring>
#include <type_traits>

#include "core/tape.h"
#include "models/weights/formats.h"
#include "ops/frozen_linear.h"
#include "test/ops/sparse_cases.h"

namespace sinter {
namespace {

// What must not compile: a gradient for, or a write to, anything frozen.
template <class T>
concept HasGrad = requires(Grads g, const T& t, Tensor d) {
  g.add(t, d);
};
template <class T>
concept HasLeaf = requires(Tape tape, const T& t) {
  tape.leaf(t);
};
template <class T>
concept Assignable = requires(T& t, Tensor v) {
  t.assign(v);
};
static_assert(HasGrad<Param> && HasLeaf<Param> && Assignable<Param>);
static_assert(!HasGrad<FrozenWeight> && !HasLeaf<FrozenWeight> && !Assignable<FrozenWeight>);
static_assert(!HasGrad<FrozenWeightPtr> && !HasLeaf<FrozenWeightPtr> && !HasGrad<Tensor> && !HasLeaf<Tensor>);
static_assert(!std::is_convertible_v<FrozenWeight&, Tensor> && !std::is_convertible_v<FrozenWeightPtr, Tensor>);
static_assert(!std::is_constructible_v<Var, FrozenWeightPtr> &&
              !std::is_constructible_v<Param, std::string, FrozenWeightPtr>);
static_assert(std::is_const_v<FrozenWeightPtr::element_type>);
static_assert(!std::is_constructible_v<View, const Tensor&> && !std::is_convertible_v<ConstView, View>);

constexpr std::int64_t kBig = 2048, kWide = 1024, kRows = 16;

// A [1024, 1024] weight in every format that is not dense: 4 bits in groups of 128, with or without an order; half of it
// pruned, with codes or values.
std::vector<FrozenWeightPtr> big_weights() {
  test::SparseCase c{kWide, kWide, {}, 1, DType::bf16, 4, 128};
  std::vector<FrozenWeightPtr> all;
  for (const bool order : {false, true}) {
    c.order = order, c.scale = order ? DType::f16 : DType::f32;
    all.push_back(freeze_grouped_int(test::pruned_codes(c, test::dropped(c))));
  }
  c.density = 0.5;
  for (const KeptPattern p : {KeptPattern{}, {2, 4}})
    for (const int bits : {0, 4}) {
      c.pattern = p, c.bits = bits;
      all.push_back(freeze_sparse(test::make_sparse(c).matrix));
    }
  return all;
}

}  // namespace

TEST_CASE(
    "forward and backward through a packed linear allocate nothing as large as a dense weight and leave its bytes "
    "alone") {
  constexpr std::size_t kDense = kWide * kWide * 4;
  for (const FrozenWeightPtr& w : big_weights())
    for (const Compute compute : {Compute::f32, Compute::bf16}) {
      const Packed parts = w->pack();
      std::map<std::string, Tensor> before;
      for (const auto& [name, part] : parts.parts) before[name] = part.clone();
      const Param x("x", test::randn({kRows, kWide}, 2, DType::f32));
      const Tensor bias = test::randn({kWide}, 3, DType::f32), dy = test::randn({kRows, kWide}, 4, DType::f32);

      Allocator& memory = allocator_of({});
      memory.reset_peak();
      const std::size_t base = memory.stats().live;
      Tape tape;
      const Var y = frozen_linear(tape.leaf(x), w, bias, compute);
      const std::size_t saved = memory.stats().live - base;
      CHECK(saved == y.value().bytes());  // no activation is kept for backward
      const Grads g = std::move(tape).backward(y, dy);
      CHECK(memory.stats().largest < kDense / 8);
      CHECK(memory.stats().peak - base < kDense / 8);
      CHECK(g.size() == 1);
      CHECK(g.find(x) != nullptr);
      for (const auto& [name, part] : w->pack().parts) CHECK(test::same_bits(part, before.at(name)));
    }
}

TEST_CASE("a half-precision dense weight is never expanded as a whole either") {
  constexpr std::size_t kDense = kBig * kBig * 4;
  for (const DType d : {DType::bf16, DType::f16})
    for (const std::int64_t T : {std::int64_t(1), kRows, std::int64_t(40)}) {
      const FrozenWeightPtr w = freeze_dense(Tensor::full({kBig, kBig}, 0.5, d));
      const Tensor x = test::randn({T, kBig}, 2, DType::f32);
      Allocator& memory = allocator_of({});
      memory.reset_peak();
      const std::size_t base = memory.stats().live;
      static_cast<void>(apply_transposed(*w, apply(*w, x)));
      CHECK(memory.stats().largest < kDense / 8);
      CHECK(memory.stats().peak - base < kDense / 2);  // a strip for each thread
    }
}

TEST_CASE("a linear without any parameter before it records nothing") {
  const FrozenWeightPtr w = freeze_dense(test::randn({5, 4}, 1, DType::f32));
  CHECK(!frozen_linear(test::randn({3, 4}, 2, DType::f32), w).tracked());
}

}  // namespace sinter
