// gemm_f32: the products of a linear layer, forward and backward.
#include <algorithm>
#include <cmath>

#include "apps/bench.h"
#include "core/parallel.h"
#include "models/weights/formats.h"
#include "ops/blas_limit.h"

namespace sinter::bench {
namespace {

struct Product {
  std::int64_t rows, out, in;
  bool backward;
  std::int64_t wide() const { return backward ? in : out; }  // of the result
  std::int64_t inner() const { return backward ? out : in; }
  std::string shape() const {
    const std::string t = std::to_string(rows), m = std::to_string(out), n = std::to_string(in);
    return backward ? "dx[" + t + "," + n + "] = dy W[" + m + "," + n + "]"
                    : "y[" + t + "," + m + "] = x W[" + m + "," + n + "]'";
  }
};

void check_equal(const Tensor& a, const Tensor& b, std::int64_t terms, const std::string& shape) {
  const auto x = a.data<float>(), y = b.data<float>();
  // Sums of `terms` products of numbers below 1: two orders of summation differ by far less than this.
  const float most = 1e-5f * float(terms);
  for (std::size_t i = 0; i < x.size(); ++i)
    require(std::abs(x[i] - y[i]) <= most, ErrorCode::numeric, "gemm_f32 " + shape, "engine ", x[i], ", OpenBLAS ",
            y[i]);
}

Row measure(LogSink& log, const Product& p, const FrozenWeight& w, const float* weight) {
  const Tensor x = random_tensor({p.rows, p.inner()}, 5);
  Tensor engine = Tensor::zeros({p.rows, p.wide()}, DType::f32), blas = Tensor::zeros({p.rows, p.wide()}, DType::f32);
  const View out(engine), limit_out(blas);
  bool measured = true;
  const auto limit = [&] {
    const auto s = blas_sgemm_seconds(p.rows, p.wide(), p.inner(), x.data<float>().data(), weight,
                                      p.backward ? Trans::no : Trans::yes, limit_out.data<float>(), threads());
    measured = s.has_value();
    return s.value_or(0);
  };
  const auto run = [&] {
    return timed([&] {
      if (p.backward) w.apply_transposed(x, w.all(), out, 0, Compute::f32);
      else w.apply(x, w.all(), out, {}, Compute::f32);
    });
  };
  const Pair s = in_turn(log, limit, run);
  if (measured) check_equal(engine, blas, p.inner(), p.shape());
  const double gflop = 2e-9 * double(p.rows) * double(p.out) * double(p.in);
  return {"gemm_f32", p.shape(), gflop, "GFLOP/s", s.engine, measured ? std::optional(gflop / s.limit) : std::nullopt};
}

}  // namespace

std::vector<Row> gemm_f32(LogSink& log) {
  std::vector<Row> rows;
  constexpr std::int64_t kIn = 4096;
  for (const std::int64_t out : {4096, 11008}) {
    const Tensor weight = random_tensor({out, kIn}, 4);
    const auto w = freeze_dense(weight);
    for (const std::int64_t t : {128, 512, 1024})
      for (const bool backward : {false, true})
        rows.push_back(measure(log, {t, out, kIn, backward}, *w, weight.data<float>().data()));
  }
  return rows;
}

}  // namespace sinter::bench
