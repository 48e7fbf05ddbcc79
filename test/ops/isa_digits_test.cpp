#include <cmath>
#include <vector>

#include "ops/code_stream.h"
#include "ops/few_rows.h"
#include "test/check.h"

namespace sinter {
namespace {

// Rows of random codes on random grids, and what a kernel makes of them with x.
struct Problem {
  std::int64_t rows, cols, group;
  int bits;
  std::int64_t groups = (cols + group - 1) / group;
  std::vector<unsigned> code = std::vector<unsigned>(std::size_t(rows * cols));
  std::vector<std::uint8_t> stream, zero;
  std::vector<float> scale;

  Problem(std::int64_t m, std::int64_t n, std::int64_t g, int b) : rows(m), cols(n), group(g), bits(b) {
    const Rng rng{4, std::uint64_t(b)};
    for (std::size_t i = 0; i < code.size(); ++i) code[i] = rng.bits(i) & ((1u << bits) - 1);
    for (std::int64_t i = 0; i < rows * groups + 16; ++i) {
      scale.push_back(float(rng.normal(std::uint64_t(9000 + i))));
      zero.push_back(std::uint8_t(std::uint64_t(i) * 5 % (1u << bits)));
    }
    pack();
  }
  void pack() {
    const std::int64_t bytes = stream_bytes(cols, bits);
    stream.assign(std::size_t(rows * bytes), 0);  // as long as needed: the address sanitizer sees a byte too many
    for (std::int64_t i = 0; i < rows * cols; ++i)
      put_code(stream.data() + i / cols * bytes, i % cols, bits, code[std::size_t(i)]);
  }
  PackedRows packed() const {
    return {stream.data(),
            stream.data() + stream.size(),
            scale.data(),
            zero.data(),
            stream_bytes(cols, bits),
            cols,
            group,
            groups,
            bits};
  }
  double weight(std::int64_t r, std::int64_t j) const {
    const auto g = std::size_t(r * groups + j / group);
    return double(scale[g]) * (double(code[std::size_t(r * cols + j)]) - zero[g]);
  }
};

struct Split {
  std::vector<float> scale, sum;
  std::int8_t* digits;
  std::unique_ptr<std::byte, void (*)(void*)> memory{nullptr, std::free};
  Split(const CpuKernels& k, const std::vector<float>& x, int T, const Problem& p, int order) {
    const std::int64_t chunk = k.digit_chunk(order), chunks = (p.cols + chunk - 1) / chunk,
                       bytes = T * chunks * chunk * 2;
    memory.reset(static_cast<std::byte*>(std::aligned_alloc(64, std::size_t((bytes + 63) / 64 * 64))));
    digits = reinterpret_cast<std::int8_t*>(memory.get());
    scale.resize(std::size_t(T * chunks));
    sum.resize(std::size_t(T * ((p.groups + 15) / 16 * 16)));
    k.split_digits(x.data(), p.cols, T, p.cols, p.group, order, rows());
  }
  DigitRows rows() { return {digits, scale.data(), sum.data()}; }
};

std::vector<float> normals(std::int64_t n, std::uint64_t stream) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = float(Rng{3, stream}.normal(i)) * (i % 97 == 5 ? 50.f : 1.f);
  return v;
}

// The largest |x| of the chunk of column j.
double largest(const float* x, std::int64_t cols, std::int64_t chunk, std::int64_t j) {
  double most = 0;
  for (std::int64_t i = j / chunk * chunk; i < std::min(cols, (j / chunk + 1) * chunk); ++i)
    most = std::max(most, std::abs(double(x[i])));
  return most;
}

// Whether y is x·wᵀ up to the digits' rounding of x and that of f32 sums.
bool is_product(const std::vector<float>& y, const std::vector<float>& x, int T, const Problem& p, std::int64_t chunk,
                const std::vector<bool>* kept = nullptr) {
  for (std::int64_t t = 0; t < T; ++t)
    for (std::int64_t r = 0; r < p.rows; ++r) {
      const float* row = x.data() + t * p.cols;
      double sum = 0, bound = 0;
      for (std::int64_t j = 0; j < p.cols; ++j) {
        const bool here = !kept || (*kept)[std::size_t(r * p.cols + j)];
        const double w = p.weight(r, j),
                     coarse = std::abs(p.scale[std::size_t(r * p.groups + j / p.group)]) * (1 << p.bits);
        if (here) sum += double(row[j]) * w;
        bound += (here ? std::abs(w) : 0) * largest(row, p.cols, chunk, j) / 65278 + 1e-6 * std::abs(row[j]) * coarse;
      }
      if (!(std::abs(sum - y[std::size_t(t * p.rows + r)]) <= bound)) return false;
    }
  return true;
}

template <class F>
void each_problem(F f) {
  for (const CpuKernels* k : supported_kernels()) {
    CAPTURE(k->name);
    for (const int bits : {2, 3, 4, 8})
      for (const std::int64_t cols : {5, 96, 131, 256, 1100})
        for (const std::int64_t group :
             {std::int64_t(16), std::int64_t(32), std::int64_t(128), std::int64_t(256), cols})
          if (group <= cols) f(*k, Problem(6, cols, group, bits));
  }
}

bool fits(std::int64_t chunk, const Problem& p, bool parts) {
  return chunk > 0 && (p.groups == 1 || p.group % chunk == 0 || (parts && chunk % p.group == 0 && p.group % 16 == 0));
}

}  // namespace

TEST_CASE("digits: products equal f64 sums to the stated error, for every width, group and number of rows") {
  int met = 0;
  each_problem([&](const CpuKernels& k, const Problem& p) {
    const std::int64_t chunk = k.digit_chunk(p.bits);
    if (!fits(chunk, p, true)) return;
    CAPTURE(p.bits);
    CAPTURE(p.cols);
    CAPTURE(p.group);
    for (const int T : {1, 2, 3, 4, 7}) {
      const std::vector<float> x = normals(T * p.cols, 2);
      Split s(k, x, T, p, p.bits);
      std::vector<float> y(std::size_t(T * p.rows), -1.f);
      k.dot_digits(s.rows(), T, p.packed(), p.rows, y.data(), p.rows);
      REQUIRE(is_product(y, x, T, p, chunk));
      ++met;
    }
  });
  CHECK((met > 0) == (cpu_kernels().digit_chunk(4) > 0));
}

TEST_CASE(
    "digits: an activation moves by at most 1 / 65278 of its chunk's largest, in norm by an eighth of what bf16 may") {
  for (const CpuKernels* k : supported_kernels())
    for (const int bits : {2, 3, 4, 8}) {
      const std::int64_t chunk = k->digit_chunk(bits), n = 300;
      if (chunk == 0) continue;
      CAPTURE(k->name);
      Problem p(n, n, n, bits);  // row r picks column r
      std::ranges::fill(p.scale, 1.f);
      std::ranges::fill(p.zero, std::uint8_t(0));
      for (std::int64_t i = 0; i < n * n; ++i) p.code[std::size_t(i)] = i / n == i % n;
      p.pack();
      const std::vector<float> x = normals(n, 5);
      Split s(*k, x, 1, p, bits);
      std::vector<float> y(static_cast<std::size_t>(n));
      k->dot_digits(s.rows(), 1, p.packed(), n, y.data(), n);
      double moved = 0, size = 0;
      for (std::int64_t j = 0; j < n; ++j) {
        const double d = double(y[std::size_t(j)]) - x[std::size_t(j)], most = largest(x.data(), n, chunk, j);
        REQUIRE(std::abs(d) <= most / 65278 * 1.01);
        moved += d * d, size += double(x[std::size_t(j)]) * x[std::size_t(j)];
      }
      CHECK(std::sqrt(moved / size) < 0x1p-12);
      CHECK(moved > 0);
    }
}

TEST_CASE("digits: zeros and tiny numbers count as 0, infinities and NaN reach the result") {
  for (const CpuKernels* k : supported_kernels()) {
    if (k->digit_chunk(4) == 0) continue;
    const Problem p(4, 200, 200, 4);
    for (const auto& [value, finite] : {std::pair{0.f, true}, {1e-38f, true}, {INFINITY, false}, {NAN, false}}) {
      std::vector<float> x(200, 0.f), y(4, -1.f);
      x[150] = value;
      Split s(*k, x, 1, p, 4);
      k->dot_digits(s.rows(), 1, p.packed(), 4, y.data(), 4);
      for (const float v : y) CHECK((finite ? v == 0 : !std::isfinite(v)));
    }
  }
}

TEST_CASE("digits: kept codes in the order of the columns give the same product") {
  each_problem([](const CpuKernels& k, const Problem& p) {
    const std::int64_t chunk = k.digit_chunk(CpuKernels::kInColumnOrder);
    REQUIRE((chunk > 0) == (k.dot_sparse_digits != nullptr));
    if (!fits(chunk, p, false)) return;
    CAPTURE(p.bits);
    CAPTURE(p.cols);
    for (const double density : {0., 0.1, 0.5, 1.}) {
      const std::int64_t mask_bytes = (p.cols + 7) / 8;
      std::vector<bool> kept;
      std::vector<std::uint8_t> mask(std::size_t(p.rows * mask_bytes)), codes(std::size_t(p.rows * p.cols + 64));
      std::vector<std::int64_t> begin{0};
      for (std::int64_t r = 0; r < p.rows; ++r) {
        std::int64_t n = 0;
        for (std::int64_t j = 0; j < p.cols; ++j) {
          kept.push_back(Rng{6, 6}.uniform(kept.size()) < density);
          if (!kept.back()) continue;
          auto& byte = mask[std::size_t(r * mask_bytes + j / 8)];
          byte = std::uint8_t(byte | 1 << j % 8);
          put_code(codes.data() + begin.back(), n++, p.bits, p.code[std::size_t(r * p.cols + j)]);
        }
        begin.push_back(begin.back() + stream_bytes(n, p.bits));
      }
      PackedRows grid = p.packed();
      grid.codes = codes.data();
      const SparseRows rows{mask.data(), begin.data(), mask_bytes, p.rows, p.cols};
      for (const int T : {1, 3, 5}) {
        const std::vector<float> x = normals(T * p.cols, 7);
        Split s(k, x, T, p, CpuKernels::kInColumnOrder);
        std::vector<float> y(std::size_t(T * p.rows), -1.f);
        k.dot_sparse_digits(s.rows(), T, rows, grid, y.data(), p.rows);
        REQUIRE(is_product(y, x, T, p, chunk, &kept));
      }
    }
  });
}

}  // namespace sinter
