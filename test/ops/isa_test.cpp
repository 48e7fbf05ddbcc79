#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/half.h"
#include "ops/isa/kernels.h"
#include "test/check.h"

namespace sinter {
namespace {

using Floats = std::vector<float>;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr std::int64_t kSizes[] = {0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 100, 257};

Floats normals(std::int64_t n, std::uint64_t stream) {
  const Rng rng{3, stream};
  Floats v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = float(rng.normal(i));
  return v;
}

// f for each table this machine has.
template <class F>
void each_table(F f) {
  for (const CpuKernels* t : supported_kernels()) {
    CAPTURE(t->name);
    f(*t);
  }
}

template <class H>
std::vector<std::uint16_t> halves(const Floats& v) {
  std::vector<std::uint16_t> h;
  for (const float x : v) h.push_back(from_float<H>(x).bits);
  return h;
}

// Both few-rows kernels of one storage type against f64 sums over the stored values.
template <class Dot, class Add, class W>
void check_rows(Dot dot, Add add, const std::vector<W>& w, const Floats& value) {
  for (const int T : {1, 2, 3, 4, 7, 13})
    for (const std::int64_t R : {1, 2, 5, 8, 19})
      for (const std::int64_t k : {1, 5, 16, 37, 130}) {
        const std::int64_t ldx = k + 3, ldw = k + 1, ldy = 200;
        const Floats x = normals(T * ldx, 5), a = normals(T * ldy, 6);
        Floats y(std::size_t(T * ldy), 9.f), z = normals(T * ldy, 7);
        const Floats before = z;
        dot(x.data(), ldx, T, w.data(), ldw, R, k, y.data(), ldy);
        add(a.data(), ldy, T, w.data(), ldw, R, k, z.data(), ldy);
        double worst = 0;
        for (int t = 0; t < T; ++t) {
          for (std::int64_t r = 0; r < ldy; ++r) {
            double s = r < R ? 0 : 9;
            for (std::int64_t j = 0; r < R && j < k; ++j)
              s += double(x[std::size_t(t * ldx + j)]) * value[std::size_t(r * ldw + j)];
            worst = std::max(worst, std::abs(s - y[std::size_t(t * ldy + r)]));
          }
          for (std::int64_t j = 0; j < ldy; ++j) {
            double s = before[std::size_t(t * ldy + j)];
            for (std::int64_t r = 0; j < k && r < R; ++r)
              s += double(a[std::size_t(t * ldy + r)]) * value[std::size_t(r * ldw + j)];
            worst = std::max(worst, std::abs(s - z[std::size_t(t * ldy + j)]));
          }
        }
        CHECK(worst < 2e-5);  // at most 130 terms of order 1, each rounding by 6e-8 of a sum of order 10
      }
}

// n codes of `bits` bits, appended to `code`, and their stream: exactly as long as needed, so that the address sanitizer
// sees a byte too many.
std::vector<std::uint8_t> stream_of(std::int64_t n, int bits, std::uint64_t seed, std::vector<unsigned>& code) {
  std::vector<std::uint8_t> stream(std::size_t((n * bits + 7) / 8));
  for (std::size_t j = 0; j < std::size_t(n); ++j) {
    code.push_back(Rng{3, seed}.bits(j) & ((1u << bits) - 1));
    for (int b = 0; b < bits; ++b) {
      const std::size_t at = j * std::size_t(bits) + std::size_t(b);
      stream[at / 8] = std::uint8_t(stream[at / 8] | (code.back() >> b & 1u) << at % 8);
    }
  }
  return stream;
}

double relative(double got, double want, double floor = std::numeric_limits<float>::min()) {
  if (got == want || (std::isnan(got) && std::isnan(want))) return 0;
  return std::abs(got - want) / std::max(std::abs(want), floor);
}

Floats interesting() {  // a fine grid over all that matters, then the edges
  Floats v;
  for (float x = -110; x < 95; x += 0.00713f) v.push_back(x);
  for (const float x : {0.f, -0.f, 1e-30f, -1e-30f, 88.72283f, 88.7229f, -87.33655f, -103.97f, -104.5f, 1e30f, -1e30f,
                        kInf, -kInf, NAN})
    v.push_back(x);
  return v;
}

// The result of the kernel at every point, out of place and in place, with the worst relative error.
template <class K, class F>
double map_error(K kernel, F f, double floor = std::numeric_limits<float>::min()) {
  const Floats x = interesting();
  Floats y(x.size(), 1.f), z = x;
  kernel(y.data(), x.data(), std::int64_t(x.size()));
  kernel(z.data(), z.data(), std::int64_t(z.size()));
  CHECK(std::memcmp(y.data(), z.data(), y.size() * sizeof(float)) == 0);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, relative(y[i], double(float(f(double(x[i])))), floor));
  return worst;
}

double silu_exact(double x) { return x == -INFINITY ? -0. : x / (1 + std::exp(-x)); }

}  // namespace

TEST_CASE("there is a baseline table, and the best one is among the supported") {
  REQUIRE(!supported_kernels().empty());
  CHECK(std::string(supported_kernels().front()->name) == "baseline");
  CHECK(&cpu_kernels() == supported_kernels().back());
}

TEST_CASE("few-row products equal f64 sums for f32, bf16 and f16 weights, with strides and odd sizes") {
  each_table([](const CpuKernels& k) {
    const Floats w = normals(19 * 140, 8);
    check_rows(k.dot_rows_f32, k.add_rows_f32, w, w);
    Floats as_bf16, as_f16;
    for (const float x : w) as_bf16.push_back(to_float(to_bf16(x))), as_f16.push_back(to_float(to_f16(x)));
    check_rows(k.dot_rows_bf16, k.add_rows_bf16, halves<bf16>(w), as_bf16);
    check_rows(k.dot_rows_f16, k.add_rows_f16, halves<f16>(w), as_f16);
  });
}

TEST_CASE("every half converts exactly, and f32 rounds to the nearest bf16") {
  std::vector<std::uint16_t> h(65536);
  for (std::size_t i = 0; i < h.size(); ++i) h[i] = std::uint16_t(i);
  each_table([&](const CpuKernels& k) {
    Floats b(h.size()), f(h.size());
    k.bf16_to_f32(b.data(), h.data(), 65535);  // odd, so that the rest of a row is met too
    k.f16_to_f32(f.data(), h.data(), 65535);
    int wrong = 0;
    for (std::size_t i = 0; i < 65535; ++i) {
      const float wb = to_float(bf16{h[i]}), wf = to_float(f16{h[i]});
      wrong +=
          std::isnan(wb) ? !std::isnan(b[i]) : std::bit_cast<std::uint32_t>(b[i]) != std::bit_cast<std::uint32_t>(wb);
      wrong +=
          std::isnan(wf) ? !std::isnan(f[i]) : std::bit_cast<std::uint32_t>(f[i]) != std::bit_cast<std::uint32_t>(wf);
    }
    CHECK(wrong == 0);
    Floats x = normals(1000, 1);
    x.insert(x.end(), {0.f, -0.f, kInf, -kInf, NAN, 1.00390625f, 1.01171875f, 3.4e38f, 1e-40f});
    Floats y(x.size());
    k.round_bf16(y.data(), x.data(), std::int64_t(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float want = to_float(to_bf16(x[i]));
      CHECK((std::isnan(want) ? std::isnan(y[i])
                              : std::bit_cast<std::uint32_t>(y[i]) == std::bit_cast<std::uint32_t>(want)));
    }
  });
}

TEST_CASE("codes of 2, 3, 4 and 8 bits unpack from any position, and nothing behind the stream is read") {
  each_table([&](const CpuKernels& k) {
    for (const int bits : {2, 3, 4, 8})
      for (const std::int64_t n : {1, 7, 16, 50, 131})
        for (const std::int64_t first : {0, 1, 5, 8, 24}) {
          std::vector<unsigned> code;
          const std::vector<std::uint8_t> stream = stream_of(first + n, bits, 11, code);
          Floats y(std::size_t(n), -1.f);
          k.unpack(y.data(), stream.data(), stream.data() + stream.size(), first, n, bits, 0.37f, 2.f);
          for (std::int64_t j = 0; j < n; ++j)
            REQUIRE(y[std::size_t(j)] == 0.37f * (float(code[std::size_t(first + j)]) - 2.f));
        }
  });
}

TEST_CASE("products with packed rows equal f64 sums for every width, group and number of rows of x") {
  each_table([&](const CpuKernels& k) {
    for (const int bits : {2, 3, 4, 8})
      for (const std::int64_t cols : {5, 96, 131})
        for (const std::int64_t group : {std::int64_t(3), std::int64_t(32), cols}) {
          if (group > cols) continue;
          constexpr std::int64_t R = 3;
          const std::int64_t G = (cols + group - 1) / group;
          std::vector<std::uint8_t> bytes, zero;
          std::vector<unsigned> code;
          for (std::uint64_t r = 0; r < R; ++r) {
            const auto row = stream_of(cols, bits, r, code);
            bytes.insert(bytes.end(), row.begin(), row.end());
          }
          bytes.shrink_to_fit();
          for (std::int64_t i = 0; i < R * G; ++i) zero.push_back(std::uint8_t(i % (1 << bits)));
          const Floats scale = normals(R * G, 1), x = normals(7 * cols, 2);
          const PackedRows w{bytes.data(),
                             bytes.data() + bytes.size(),
                             scale.data(),
                             zero.data(),
                             std::int64_t(bytes.size()) / R,
                             cols,
                             group,
                             G,
                             bits};
          for (const int T : {1, 2, 3, 4, 7}) {
            Floats y(std::size_t(T * R));
            k.dot_packed(x.data(), cols, T, w, R, y.data(), R);
            double worst = 0;
            for (std::int64_t i = 0; i < T * R; ++i) {
              const std::int64_t t = i / R, r = i % R;
              double s = 0;
              for (std::int64_t j = 0; j < cols; ++j) {
                const auto g = std::size_t(r * G + j / group);
                s += double(x[std::size_t(t * cols + j)]) * scale[g] *
                     (double(code[std::size_t(r * cols + j)]) - zero[g]);
              }
              worst = std::max(worst, std::abs(s - y[std::size_t(i)]));
            }
            CHECK(worst < 1e-5 * (1 << bits));  // 131 terms as large as 2^bits, f32 sums of order 20·2^bits
          }
        }
  });
}

TEST_CASE("exp, silu and their limits are accurate to a few units in the last place") {
  each_table([](const CpuKernels& k) {
    // Below 2^-126 the step of f32 is absolute, so the error there is measured against the smallest normal number.
    CHECK(map_error(k.vexp, [](double x) { return std::exp(x); }) < 2e-7);
    // That step is multiplied by up to 104 in x·e^x.
    CHECK(map_error(k.silu, silu_exact, 104. * std::numeric_limits<float>::min()) < 4e-7);

    Floats edge = {-kInf, kInf, NAN, 200.f, -200.f}, y(5);
    k.vexp(y.data(), edge.data(), 5);
    CHECK((y[0] == 0 && y[1] == kInf && std::isnan(y[2]) && y[3] == kInf && y[4] == 0));
    k.silu(y.data(), edge.data(), 5);
    CHECK((y[0] == 0 && y[1] == kInf && std::isnan(y[2]) && y[3] == 200.f && std::abs(y[4]) < 1e-37f));
  });
}

TEST_CASE("the gated product and its gradient equal the definition, also over their own inputs") {
  each_table([](const CpuKernels& k) {
    for (const std::int64_t n : {0, 5, 16, 300, 519}) {
      Floats g = normals(n, 1), u = normals(n, 2), d = normals(n, 3), y(g.size());
      for (float& v : g) v *= 8;
      k.swiglu(y.data(), g.data(), u.data(), n);
      Floats dg(g.size()), du(g.size()), g2 = g, u2 = u;
      k.swiglu_vjp(dg.data(), du.data(), g.data(), u.data(), d.data(), n);
      k.swiglu_vjp(g2.data(), u2.data(), g2.data(), u2.data(), d.data(), n);
      CHECK((g2 == dg && u2 == du));
      for (std::size_t i = 0; i < g.size(); ++i) {
        const double s = 1 / (1 + std::exp(-double(g[i]))), slope = s * (1 + g[i] * (1 - s));
        CHECK(relative(y[i], g[i] * s * u[i]) < 1e-6);
        CHECK(std::abs(dg[i] - double(d[i]) * u[i] * slope) < 2e-6 * std::abs(double(d[i]) * u[i]));
        CHECK(relative(du[i], double(d[i]) * g[i] * s) < 1e-6);
      }
    }
    Floats g = {-kInf, -300.f, 300.f}, u(3, 2.f), d(3, 3.f), dg(3), du(3);
    k.swiglu_vjp(dg.data(), du.data(), g.data(), u.data(), d.data(), 3);
    CHECK((dg == Floats{-0.f, -0.f, 6.f} && du[2] == 900.f && du[0] == 0));
  });
}

TEST_CASE("row reductions equal f64 sums and elementwise kernels are exact, for every length") {
  each_table([](const CpuKernels& k) {
    for (const std::int64_t n : kSizes) {
      const Floats x = normals(n, 1), y = normals(n, 2);
      double sum = 0, dot = 0, exps = 0;
      float top = -kInf;
      for (std::size_t i = 0; i < x.size(); ++i) {
        sum += x[i], dot += double(x[i]) * y[i], exps += std::exp(0.5 * x[i] - 0.25), top = std::max(top, x[i]);
      }
      Floats e(x.size());
      CHECK(k.max(x.data(), n) == top);
      CHECK(std::abs(k.sum(x.data(), n) - sum) < 1e-4);  // 257 terms of order 1
      CHECK(std::abs(k.dot(x.data(), y.data(), n) - dot) < 1e-4);
      CHECK(relative(k.exp_sum(e.data(), x.data(), 0.5f, 0.25f, n), exps) < 2e-6);
      Floats a = x, s = x, m = x, p(x.size());
      k.axpy(a.data(), 0.75f, y.data(), n);
      k.scale(s.data(), 0.3f, n);
      k.add(m.data(), y.data(), n);
      k.mul(p.data(), x.data(), y.data(), n);
      for (std::size_t i = 0; i < x.size(); ++i) {
        CHECK(relative(e[i], std::exp(0.5 * x[i] - 0.25)) < 4e-7);
        CHECK(std::abs(a[i] - (x[i] + 0.75 * double(y[i]))) < 1e-6);  // fused or not
        CHECK((s[i] == 0.3f * x[i] && m[i] == x[i] + y[i] && p[i] == x[i] * y[i]));
      }
    }
    const Floats gaps = {NAN, -kInf, 1.f, NAN};
    CHECK(k.max(gaps.data(), 4) == 1.f);
  });
}

}  // namespace sinter
