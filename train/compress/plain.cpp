#include "train/compress/plain.h"

#include <algorithm>

#include "ops/gemm.h"

namespace sinter {
namespace {

constexpr std::int64_t kSample = 16;

// The differences of the sampled rows, in the weight's order of columns: [2, rows, n], the sweep's first.
template <class T>
Tensor differences(const Tensor& w, const ObsResult& r, const SweepOrder& s) {
  const std::int64_t m = w.shape()[0], n = w.shape()[1], rows = std::min(m, kSample);
  Tensor d = Tensor::empty({2 * rows, n}, dtype_of<T>);
  const auto W = w.data<T>(), swept = r.w.data<T>();
  const auto D = d.mutable_data<T>();
  const T top = T((1 << s.bits) - 1);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t i = row * m / rows;
    for (std::int64_t k = 0; k < n; ++k) {
      const std::int64_t j = s.order.empty() ? k : s.order[std::size_t(k)];
      const T v = W[std::size_t(i * n + j)], q = swept[std::size_t(i * n + k)];
      T plain = q == 0 ? T(0) : v;
      if (s.bits > 0 && q != 0) {
        const std::int64_t g = s.group_of.empty() ? k / r.grid.group : s.group_of[std::size_t(k)];
        const auto at = std::size_t(i * r.grid.zero.shape()[1] + g);
        const T scale = r.grid.scale.data<T>()[at], zero = T(r.grid.zero.data<std::uint8_t>()[at]);
        plain = scale * (code_of(v, scale, zero, top) - zero);
      }
      D[std::size_t(row * n + j)] = v - q;
      D[std::size_t((rows + row) * n + j)] = v - plain;
    }
  }
  return d;
}

}  // namespace

double over_plain(const Tensor& w, const ObsResult& r, const SweepOrder& s, const Tensor& gram) {
  return visit_float(w.dtype(), "over_plain", [&]<class T>() {
    const Tensor d = differences<T>(w, r, s), p = matmul(d, Trans::no, gram, Trans::no);
    const auto D = d.data<T>(), P = p.data<T>();
    double lost[2] = {0, 0};
    for (std::size_t i = 0; i < D.size(); ++i) lost[i >= D.size() / 2] += double(D[i]) * double(P[i]);
    return lost[1] > 0 ? std::max(lost[0] / lost[1], 0.) : 0.;
  });
}

}  // namespace sinter
