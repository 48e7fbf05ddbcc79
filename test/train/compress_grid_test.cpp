#include "train/compress/grid.h"

#include "test/train/compress_cases.h"

using namespace sinter;
using namespace sinter::test;

namespace {

Levels<double> levels(const std::vector<double>& w, GridRule rule) {
  return find_levels(std::span<const double>(w), rule, "w");
}
double rounded(double w, Levels<double> l, int bits) {
  return l.scale * (code_of(w, l.scale, l.zero, double((1 << bits) - 1)) - l.zero);
}

}  // namespace

TEST_CASE("Rounding is half to even, also below zero") {
  for (const auto& [x, y] :
       {std::pair{0.5, 0.}, {1.5, 2.}, {2.5, 2.}, {-0.5, 0.}, {-1.5, -2.}, {7.49, 7.}, {254.5, 254.}}) {
    CHECK(nearest_even(x) == y);
    CHECK(nearest_even(float(x)) == float(y));
  }
}

TEST_CASE("An asymmetric grid spans its weights and zero") {
  const auto both = levels({-1, 0.5, 2}, {.bits = 2, .scale32 = true});
  CHECK(both.scale == 1);
  CHECK(both.zero == 1);
  const auto positive = levels({0.5, 3}, {.bits = 2, .scale32 = true});
  CHECK(positive.scale == 1);
  CHECK(positive.zero == 0);
  const auto negative = levels({-3, -0.5}, {.bits = 2, .scale32 = true});
  CHECK(negative.scale == 1);
  CHECK(negative.zero == 3);
}

TEST_CASE("A symmetric grid reaches to both sides for weights of any sign") {
  for (const std::vector<double>& w : {std::vector<double>{-1.5, 1}, {1.5, 0.5}, {-1.5, -0.5}}) {
    const auto l = levels(w, {.bits = 4, .symmetric = true, .scale32 = true});
    CHECK(l.zero == 8);
    CHECK(l.scale == doctest::Approx(0.2));
    for (const double v : w) CHECK(std::abs(rounded(v, l, 4) - v) <= l.scale / 2 * (1 + 1e-12));
  }
}

TEST_CASE("half_sym gives a group without a negative weight half a range, and others what they have without it") {
  const auto l = levels({1.5, 0.5}, {.bits = 4, .symmetric = true, .scale32 = true, .half_sym = true});
  CHECK(l.scale == doctest::Approx(0.1));
  CHECK(l.zero == 8);
  CHECK(rounded(1.5, l, 4) == doctest::Approx(0.7));
  const std::vector<double> both{-1, 1.5};
  CHECK(levels(both, {.bits = 4, .symmetric = true, .half_sym = true}).scale ==
        levels(both, {.bits = 4, .symmetric = true}).scale);
}

TEST_CASE("Zero is a level of every grid, and groups without weights to speak of are no trouble") {
  for (const bool symmetric : {false, true})
    for (const int bits : {2, 3, 4, 8})
      for (const std::vector<double>& w : {std::vector<double>{0, 0}, {1e-320, 0}, {-0.3, 0.7}, {5, 6}, {-6, -5}}) {
        const auto l = levels(w, {.bits = bits, .symmetric = symmetric});
        CHECK(rounded(0, l, bits) == 0);
        CHECK(l.scale > 0);
        CHECK(l.zero >= 0);
        CHECK(l.zero <= (1 << bits) - 1);
        for (const double v : w) CHECK(std::isfinite(rounded(v, l, bits)));
      }
  CHECK_THROWS_TEXT(numeric, "w", levels({1, NAN}, {}));
  CHECK_THROWS_TEXT(numeric, "w", levels({1, INFINITY}, {}));
  CHECK_THROWS_TEXT(numeric, "w", levels({1e308, -1e308}, {}));
}

TEST_CASE("The searched grid never loses more than the whole range, by the norm it searches") {
  bool better = false;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    for (const bool symmetric : {false, true}) {
      const Tensor w = randn({32}, 50 + seed);
      const std::vector<double> v(w.data<double>().begin(), w.data<double>().end());
      const auto error = [&](bool mse) {
        const auto l = levels(v, {.bits = 3, .symmetric = symmetric, .mse = mse});
        double sum = 0;
        for (const double x : v) sum += std::pow(std::abs(rounded(x, l, 3) - x), 2.4);
        return sum;
      };
      CHECK(error(true) <= error(false));
      better |= error(true) < 0.9 * error(false);
    }
  CHECK(better);
}

TEST_CASE("Scales are f16 numbers, of the whole range and of the searched one, and the zero is of that scale") {
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    for (const bool symmetric : {false, true})
      for (const bool mse : {false, true})
        for (const int bits : {2, 3, 4, 8}) {
          const Tensor w = randn({32}, 70 + seed);
          const std::vector<double> v(w.data<double>().begin(), w.data<double>().end());
          const auto l = levels(v, {.bits = bits, .symmetric = symmetric, .mse = mse});
          const auto exact = levels(v, {.bits = bits, .symmetric = symmetric, .mse = mse, .scale32 = true});
          CHECK(double(to_float(from_float<f16>(l.scale))) == l.scale);
          CHECK(double(to_float(from_float<f16>(exact.scale))) != exact.scale);
          if (!mse) CHECK(std::abs(l.scale - exact.scale) <= exact.scale * 0x1p-11);
          if (symmetric || mse) continue;
          CHECK(l.zero == nearest_even(-*std::ranges::min_element(v) / l.scale));
          for (const double x : v)  // at the ends of the range the rounded scale may be top · 2⁻¹¹ steps short
            CHECK(std::abs(rounded(x, l, bits) - x) <= l.scale * (0.5 + std::ldexp(1., bits - 11)));
        }
}

TEST_CASE("A scale that f16 holds badly is rounded upwards, one that it does not hold stays") {
  const auto scale = [](double range, bool scale32 = false) {
    return levels({0, range}, {.bits = 4, .scale32 = scale32}).scale;
  };
  const double unit = 0x1p-24;
  CHECK(scale(15 * 1.4 * unit) == 2 * unit);
  CHECK(scale(15 * 1.4 * unit, true) != 2 * unit);
  CHECK(scale(15 * 900.2 * unit) == 900 * unit);
  CHECK(scale(15 * 0.3 * unit) == doctest::Approx(0.3 * unit));
  CHECK(scale(15 * 1e5) == doctest::Approx(1e5));
  CHECK(scale(15 * 6e4) == 60000);
}

TEST_CASE("min_zero keeps a level below zero in groups without a negative weight, and changes no other") {
  for (const int bits : {2, 3, 4, 8})
    for (const bool mse : {false, true}) {
      const GridRule plain{.bits = bits, .mse = mse}, bounded{.bits = bits, .mse = mse, .min_zero = true};
      for (const std::vector<double>& w : {std::vector<double>{0.3, 3, 1}, {0, 7}, {-0.001, 5, 2}}) {
        CHECK(levels(w, plain).zero == 0);
        const auto l = levels(w, bounded);
        CHECK(l.zero == 1);
        if (mse) continue;
        for (const double v : w)
          CHECK(std::abs(rounded(v, l, bits) - v) <= l.scale * (0.5 + std::ldexp(1., bits - 11)));
      }
      const std::vector<double> both{-1, 2, 0.5};
      CHECK(levels(both, bounded).scale == levels(both, plain).scale);
      CHECK(levels(both, bounded).zero == levels(both, plain).zero);
    }
}

TEST_CASE("Grids of a matrix are those of its groups, the last one short") {
  const Tensor w = randn({3, 10}, 60);
  const Grid grid = find_grid(w, {.bits = 4, .group = 4}, "w");
  CHECK(grid.scale.shape() == Shape{3, 3});
  const Tensor codes = nearest_codes(w, grid, 4), q = dequantise(codes, grid);
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t j = 0; j < 10; ++j) {
      std::vector<double> group;
      for (std::int64_t k = j / 4 * 4; k < std::min<std::int64_t>(10, j / 4 * 4 + 4); ++k) group.push_back(at(w, i, k));
      CHECK(at(q, i, j) == rounded(at(w, i, j), levels(group, {.bits = 4}), 4));
    }
  CHECK(find_grid(w, {.bits = 4, .group = 99}, "w").scale.shape() == Shape{3, 1});
  CHECK_THROWS_CODE(usage, check_rule({.bits = 5}, "w"));
}

TEST_CASE("Rounding to nearest packs what it returns") {
  const Tensor w = randn({7, 50}, 61, DType::f32);
  for (const char* bits : {"2", "3", "4", "8"})
    for (const char* group : {"-1", "16", "50"}) {
      LayerProblem p;
      p.name = "layer";
      p.weight = w;
      const LayerResult r = make_method("rtn", {{"bits", bits}, {"group", group}})->compress(p);
      Tensor unpacked = Tensor::empty(w.shape(), DType::f32);
      unpack_rows(*r.packed, 0, 7, View(unpacked));
      CHECK(same_bits(unpacked, r.dense));
    }
}

TEST_CASE("Packed scales are f16 where that is exact, and f32 where it is not") {
  const Tensor w = randn({7, 50}, 62, DType::f32);
  LayerProblem p;
  p.name = "layer";
  p.weight = w;
  for (const char* method : {"rtn", "magnitude"}) {
    p.sparsity = *method == 'r' ? Sparsity(Unpruned{}) : Fraction{0.5};
    for (const char* scale32 : {"0", "1"}) {
      const LayerResult r = make_method(method, {{"bits", "4"}, {"group", "16"}, {"scale32", scale32}})->compress(p);
      CHECK(r.packed->scale.dtype() == (*scale32 == '1' ? DType::f32 : DType::f16));
      Tensor unpacked = Tensor::empty(w.shape(), DType::f32);
      unpack_rows(*r.packed, 0, 7, View(unpacked));
      CHECK(same_bits(unpacked, r.dense));
    }
  }
}
