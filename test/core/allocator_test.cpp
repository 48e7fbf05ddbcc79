#include "core/allocator.h"

#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <vector>

#include "core/block_cache.h"
#include "core/tape.h"
#include "test/check.h"
#include "test/fail_at.h"

using namespace sinter;
using namespace sinter::test;

namespace {

struct DoubleOp {
  static constexpr std::string_view name = "test_double";
  static constexpr std::size_t arity = 1;
  struct Saved {
    Tensor kept;
  };
  static Tensor twice(const Tensor& x) {
    Tensor y = x.clone();
    accumulate({}, y, x);
    return y;
  }
  static Cotangents<1> vjp(const Saved&, const Tensor& dy, Needs<1>) { return {twice(dy)}; }
};
Var twice(const Var& x) { return record<DoubleOp>({x}, DoubleOp::twice(x.value()), {x.value().clone()}); }

// A small training step: leaves, ops that save, a checkpoint, fan-out, backward.
Grads step(const Param& p, const Param& q) {
  const Segment segment = [&q](Tape* t, std::span<const Var> in) {
    const Var extra = t ? t->leaf(q) : Var(q.value());
    return twice(twice(extra.tracked() ? extra : in[0]));
  };
  Tape tape;
  const Var x = tape.leaf(p);
  const Var y = twice(x);
  Var z = checkpoint(&tape, segment, std::array{y});
  return std::move(tape).backward(twice(z), ones(p.value().shape()));
}

}  // namespace

// A sanitizer ends the program at a request that it finds too large, unless told to behave like malloc.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

TEST_CASE("Statistics count bytes as requested") {
  Allocator& a = allocator_of({});
  const std::size_t before = a.stats().live;
  a.reset_peak();
  CHECK(a.stats().peak == before);
  {
    const Tensor x = Tensor::empty({1000}, DType::f32), y = Tensor::empty({10}, DType::u8);
    CHECK(a.stats().live - before == 4010);
    CHECK(a.stats().largest == 4000);
    CHECK(a.stats().calls == 2);
  }
  CHECK(a.stats().live == before);
  CHECK(a.stats().peak - before == 4010);
  a.reset_peak();
  CHECK(a.stats().peak == before);
  CHECK(a.stats().largest == 0);
  CHECK(a.stats().calls == 0);
}

TEST_CASE("Blocks are aligned to 64 bytes, also without elements") {
  for (const std::int64_t n : {0, 1, 63, 65, 1000, 70000, 5000000}) {
    const Tensor t = Tensor::empty({n}, DType::u8);
    CHECK(reinterpret_cast<std::uintptr_t>(t.raw()) % 64 == 0);
  }
}

TEST_CASE("A large block that was freed is used again") {
  Allocator& a = allocator_of({});
  a.trim();
  const std::byte* first = Tensor::empty({1 << 20}, DType::u8).raw();
  CHECK(Tensor::empty({(1 << 20) - 100}, DType::u8).raw() == first);  // within an eighth
  const Tensor held = Tensor::empty({1 << 20}, DType::u8);
  CHECK(held.raw() == first);
  CHECK(Tensor::empty({1 << 20}, DType::u8).raw() != first);
}

TEST_CASE("The cache prefers the smallest block that fits, wastes at most an eighth and keeps to its limit") {
  std::vector<std::byte> memory(8);
  BlockCache cache(3000);
  CHECK(cache.take(100) == nullptr);
  CHECK(cache.keep(&memory[0], 1100));
  CHECK(cache.keep(&memory[1], 1000));
  CHECK_FALSE(cache.keep(&memory[2], 1000));
  CHECK(cache.take(800) == nullptr);  // 1000 > 900
  CHECK(cache.take(900) == &memory[1]);
  CHECK(cache.take(1000) == &memory[0]);
  CHECK(cache.keep(&memory[3], 2999));
  int freed = 0;
  cache.clear([&](std::byte* p, std::size_t n) { freed += p == &memory[3] && n == 2999; });
  CHECK(freed == 1);
  CHECK(cache.keep(&memory[4], 3000));
  cache.clear([](std::byte*, std::size_t) {});
}

TEST_CASE("A cache shrinks by its largest blocks, and no further than asked") {
  std::vector<std::byte> memory(3);
  BlockCache cache(3000);
  for (const std::size_t i : {0, 1, 2}) CHECK(cache.keep(&memory[i], 100 + 100 * i));
  std::vector<std::byte*> freed;
  const auto note = [&freed](std::byte* p, std::size_t) { freed.push_back(p); };
  cache.shrink(0, note);
  CHECK(freed.empty());
  cache.shrink(301, note);
  CHECK(freed == std::vector<std::byte*>{&memory[2], &memory[1]});
  CHECK(cache.kept() == 100);
  cache.shrink(1000, note);
  CHECK((freed.size() == 3 && cache.kept() == 0));
}

TEST_CASE("Free blocks of one size make room for those of another, so that phases do not add up") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  MESSAGE("skipped: sanitizers keep freed memory");
#else
  const auto address_space = [] {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages * std::size_t(::sysconf(_SC_PAGESIZE));
  };
  const auto four_of = [](std::int64_t mebibytes) {
    std::vector<Tensor> all;
    for (int i = 0; i < 4; ++i) all.push_back(Tensor::empty({mebibytes << 20}, DType::u8));
    return all;
  };
  allocator_of({}).trim();
  const std::size_t before = address_space();
  four_of(250).clear();
  CHECK(address_space() - before >= std::size_t(1000) << 20);  // kept for reuse
  const auto live = four_of(180);
  CHECK(address_space() - before < std::size_t(1050) << 20);
#endif
}

TEST_CASE("A request that cannot be met is an error with the figures, and changes nothing") {
  Allocator& a = allocator_of({});
  const MemoryStats before = a.stats();
  CHECK_THROWS_TEXT(out_of_memory, "bytes on cpu", a.allocate(SIZE_MAX / 4));
  CHECK_THROWS_CODE(out_of_memory, a.allocate(SIZE_MAX));
  CHECK(a.stats().live == before.live);
  CHECK(a.stats().calls == before.calls);
}

TEST_CASE("Another allocator serves while it is in scope, and gets its blocks back") {
  Tensor inside;
  const Tensor outside = Tensor::zeros({100}, DType::f32);
  FailAt counting(SIZE_MAX);
  {
    const ScopedAllocator scope(counting);
    inside = outside.clone();
    CHECK(counting.stats().live == 400);
  }
  CHECK(counting.calls() == 1);
  const Tensor after = Tensor::zeros({100}, DType::f32);
  CHECK(counting.calls() == 1);
  inside = Tensor();
  CHECK(counting.stats().live == 0);
}

TEST_CASE("Allocators nest: the one before is back in charge") {
  FailAt outer(SIZE_MAX);
  const ScopedAllocator scope(outer);
  {
    FailAt inner(SIZE_MAX);
    const ScopedAllocator inside(inner);
    CHECK(Tensor::zeros({1}, DType::f32).numel() == 1);
    CHECK(inner.calls() == 1);
    CHECK(outer.calls() == 1);  // FailAt hands on to the one before
  }
  CHECK(Tensor::zeros({1}, DType::f32).numel() == 1);
  CHECK(outer.calls() == 2);
}

TEST_CASE("Whichever allocation of a training step fails, the error arrives and nothing leaks") {
  const Param p("p", randn({16}, 1)), q("q", randn({16}, 2));
  const Tensor p_before = p.value().clone(), expected = *step(p, q).find(q);
  bool done = false;
  std::size_t failures = 0;
  for (std::size_t k = 0; !done; ++k) {
    REQUIRE(k < 1000);
    FailAt allocator(k);
    {
      const ScopedAllocator scope(allocator);
      try {
        const Grads g = step(p, q);
        CHECK(same_bits(*g.find(q), expected));
        done = true;
      } catch (const Error& e) {
        CHECK(e.code() == ErrorCode::out_of_memory);
        ++failures;
      }
    }
    CHECK(allocator.stats().live == 0);
    CHECK(same_bits(p.value(), p_before));
  }
  CHECK(failures >= 10);
}
