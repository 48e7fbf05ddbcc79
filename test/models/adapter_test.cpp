#include "models/adapter.h"

#include <functional>

#include "models/linear.h"
#include "models/weights/formats.h"
#include "test/check.h"

namespace sinter {
namespace {

using test::randn;

constexpr std::int64_t kOut = 48, kIn = 40, kTokens = 7;

FrozenWeightPtr dense_weight() { return freeze_dense(randn({kOut, kIn}, 1, DType::f32)); }
FrozenWeightPtr half_weight() { return freeze_dense(randn({kOut, kIn}, 1, DType::bf16)); }
FrozenWeightPtr int_weight() {
  PackedInt w{.rows = kOut, .cols = kIn, .group = 16, .bits = 4, .codes = {}, .scale = {}, .zero = {}, .order = {}};
  w.codes = Tensor::empty({kOut, kIn / 2}, DType::u8);
  std::uint64_t i = 0;
  for (auto& v : w.codes.mutable_data<std::uint8_t>()) v = std::uint8_t(Rng{1, 1}.bits(i++));
  w.scale = Tensor::full({kOut, w.groups()}, 0.125, DType::f32);
  w.zero = Tensor::empty({kOut, w.groups()}, DType::u8);
  for (auto& v : w.zero.mutable_data<std::uint8_t>()) v = 8;
  return freeze_grouped_int(std::move(w));
}

using Make = std::unique_ptr<Adapter> (*)(const std::string&, const FrozenWeight&, const AdapterOptions&, Rng);

Linear layer(const FrozenWeightPtr& w) { return {"layer", w, Weight(randn({kOut}, 2, DType::f32))}; }

void set_random(Linear& l) {
  std::uint64_t stream = 10;
  l.each_param([&](Param& p) { p.assign(randn(p.value().shape(), stream++, DType::f32)); });
}

}  // namespace

TEST_CASE("an adapter starts at the frozen output bit for bit, with and without dropout, in both numeric modes") {
  for (const Make make : {make_spp_adapter, make_lora_adapter})
    for (const auto& w : {dense_weight(), half_weight(), int_weight()})
      for (const Compute compute : {Compute::f32, Compute::bf16})
        for (const double dropout : {0., 0.5}) {
          Linear l = layer(w);
          const Tensor x = randn({kTokens, kIn}, 3, DType::f32);
          const Tensor before = l.forward({.compute = compute}, x).value();
          l.attach(make("layer", *w, {.rank = 4, .scale = 2, .dropout = dropout}, Rng{1}));
          CHECK(test::same_bits(l.forward({.compute = compute}, x).value(), before));
          Tape tape;
          const Var y = l.forward({.tape = &tape, .compute = compute}, x);
          CHECK(test::same_bits(y.value(), before));
          CHECK(y.tracked());
        }
}

TEST_CASE("merged weights equal the unmerged forward pass; SPP keeps every zero bit for bit") {
  for (const bool spp : {true, false}) {
    Tensor values = randn({kOut, kIn}, 1, DType::f32);
    for (std::size_t i = 0; i < values.mutable_data<float>().size(); i += 3) values.mutable_data<float>()[i] = 0;
    const FrozenWeightPtr w = freeze_dense(values);
    Linear l = layer(w);
    l.attach(
        (spp ? make_spp_adapter : make_lora_adapter)("layer", *w, {.rank = 4, .scale = 0.5, .dropout = 0}, Rng{1}));
    set_random(l);
    const Tensor x = randn({kTokens, kIn}, 3, DType::f32), y = l.forward({}, x).value();
    const Tensor merged = l.adapter()->merged(*w, w->all());
    CHECK(test::same_bits(merged.rows(8, 30), l.adapter()->merged(*w, {8, 30})));
    if (spp)
      for (std::int64_t i = 0; i < merged.numel(); i += 3)
        CHECK((test::value_at(merged, i) == 0 && !std::signbit(test::value_at(merged, i))));
    (void)l.detach();
    l.replace(freeze_dense(merged));
    CHECK(test::nmse(y, l.forward({}, x).value()) < 1e-11);
  }
}

TEST_CASE("dropout of adapters: only on a tape, of its own in each linear, the same when a block is run again") {
  Linear l = layer(dense_weight()), other("other", l.frozen());
  l.attach(make_spp_adapter("layer", *l.frozen(), {.rank = 4, .dropout = 0.5}, Rng{1}.fork(1)));
  other.attach(make_spp_adapter("other", *l.frozen(), {.rank = 4, .dropout = 0.5}, Rng{1}.fork(2)));
  set_random(l);
  set_random(other);
  const Tensor x = randn({kTokens, kIn}, 3, DType::f32);
  const auto on_tape = [&](const Linear& which, std::uint64_t step) {
    Tape tape;
    return which.forward({.tape = &tape, .rng = Rng{5}.fork(step)}, x).value();
  };
  CHECK(test::same_bits(on_tape(l, 1), on_tape(l, 1)));
  CHECK(!test::same_bits(on_tape(l, 1), on_tape(l, 2)));
  CHECK(!test::same_bits(on_tape(l, 1), l.forward({}, x).value()));
}

TEST_CASE("an adapter's parameters are the only ones that a gradient is formed for") {
  for (const Make make : {make_spp_adapter, make_lora_adapter}) {
    const FrozenWeightPtr w = int_weight();
    Linear l = layer(w);
    l.attach(make("layer", *w, {.rank = 4, .scale = 2, .dropout = 0.1}, Rng{1}));
    set_random(l);
    Tape tape;
    const Var y = l.forward({.tape = &tape}, randn({kTokens, kIn}, 3, DType::f32));
    const Grads g = std::move(tape).backward(y, randn(y.shape(), 4, DType::f32));
    CHECK(g.size() == 2);
    l.each_param([&](Param& p) { CHECK((g.find(p) && g.find(p)->shape() == p.value().shape())); });
  }
}

TEST_CASE("an adapter needs a frozen weight, a rank that fits, and a probability") {
  Linear l = layer(dense_weight());
  CHECK_THROWS_TEXT(usage, "rank 5 does not divide the 48 rows",
                    make_spp_adapter("l", *l.frozen(), {.rank = 5}, Rng{}));
  CHECK_THROWS_CODE(usage, make_lora_adapter("l", *l.frozen(), {.rank = 0}, Rng{}));
  CHECK_THROWS_CODE(usage, make_lora_adapter("l", *l.frozen(), {.dropout = 1}, Rng{}));
  auto adapter = make_lora_adapter("l", *l.frozen(), {}, Rng{});
  l.thaw();
  CHECK_THROWS_CODE(unsupported, l.attach(std::move(adapter)));
}

}  // namespace sinter
