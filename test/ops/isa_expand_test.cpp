#include <vector>

#include "core/half.h"
#include "ops/isa/kernels.h"
#include "test/check.h"

namespace sinter {
namespace {

constexpr std::int64_t kSizes[] = {0, 1, 3, 7, 8, 15, 16, 17, 33, 64, 100, 257};
constexpr std::int64_t kFirsts[] = {0, 1, 5, 8, 24, 31};

// Exactly as long as needed, so that the address sanitizer sees a byte too many.
struct Row {
  std::vector<std::uint8_t> mask;
  std::vector<bool> kept;  // of the columns first .. first + n
  std::vector<float> values;
};
Row random_row(std::int64_t first, std::int64_t n, double density, std::uint64_t stream) {
  const Rng rng{3, stream};
  Row r;
  r.mask.resize(std::size_t((first + n + 7) / 8));
  for (std::int64_t j = 0; j < first + n; ++j) {
    const bool kept = rng.uniform(std::uint64_t(j)) < density;
    if (kept) r.mask[std::size_t(j / 8)] = std::uint8_t(r.mask[std::size_t(j / 8)] | 1 << j % 8);
    if (j < first) continue;
    r.kept.push_back(kept);
    if (kept) r.values.push_back(float(rng.normal(std::uint64_t(1000 + j))));
  }
  r.values.shrink_to_fit();
  return r;
}

// f for each table this machine has, and rows of all lengths, places and densities.
template <class F>
void each_row(F f) {
  for (const CpuKernels* table : supported_kernels()) {
    CAPTURE(table->name);
    std::uint64_t stream = 0;
    for (const std::int64_t n : kSizes)
      for (const std::int64_t first : kFirsts)
        for (const double density : {0., 0.1, 0.5, 0.9, 1.})
          f(*table, random_row(first, n, density, ++stream), first, n);
  }
}

// Whether y holds f of each kept value, in order, and 0 elsewhere.
template <class F>
bool is_expanded(const std::vector<float>& y, const Row& r, F f) {
  std::size_t k = 0;
  for (std::size_t j = 0; j < y.size(); ++j)
    if (!(y[j] == (r.kept[j] ? f(r.values[k++]) : 0.f))) return false;
  return true;
}

template <class H, class K>
bool expands_halves(K kernel, const Row& r, std::int64_t first, std::int64_t n) {
  std::vector<std::uint16_t> halves;
  for (const float v : r.values) halves.push_back(from_float<H>(v).bits);
  halves.shrink_to_fit();
  std::vector<float> y(std::size_t(n), -1.f);
  const std::uint16_t* end = halves.data() + halves.size();
  return kernel(y.data(), r.mask.data(), first, n, halves.data(), end) == end &&
         is_expanded(y, r, [](float v) { return to_float(from_float<H>(v)); });
}

}  // namespace

TEST_CASE("kept values go to the columns whose bits are set, zeros to the others, for every type, place and length") {
  each_row([](const CpuKernels& k, const Row& r, std::int64_t first, std::int64_t n) {
    std::vector<float> y(std::size_t(n), -1.f);
    const float* end = r.values.data() + r.values.size();
    REQUIRE(k.expand_f32(y.data(), r.mask.data(), first, n, r.values.data(), end) == end);
    REQUIRE(is_expanded(y, r, [](float v) { return v; }));
    REQUIRE(expands_halves<bf16>(k.expand_bf16, r, first, n));
    REQUIRE(expands_halves<f16>(k.expand_f16, r, first, n));
    REQUIRE(k.expand_grid(y.data(), r.mask.data(), first, n, r.values.data(), end, -0.3f, 2) == end);
    REQUIRE(is_expanded(y, r, [](float v) { return -0.3f * (v - 2); }));
  });
}

TEST_CASE("values behind those of a row do not leak into it") {
  for (const CpuKernels* k : supported_kernels()) {
    const Row r = random_row(0, 64, 0.5, 1);
    std::vector<float> longer = r.values, y(64, -1.f);
    longer.resize(r.values.size() + 64, INFINITY);
    k->expand_f32(y.data(), r.mask.data(), 0, 64, longer.data(), longer.data() + longer.size());
    CHECK(is_expanded(y, r, [](float v) { return v; }));
  }
}

TEST_CASE("bits are counted up to any place") {
  each_row([](const CpuKernels& k, const Row& r, std::int64_t first, std::int64_t n) {
    std::int64_t want = 0;
    for (std::int64_t j = 0; j < first + n; ++j) want += r.mask[std::size_t(j / 8)] >> j % 8 & 1;
    REQUIRE(k.count_bits(r.mask.data(), first + n) == want);
  });
}

}  // namespace sinter
