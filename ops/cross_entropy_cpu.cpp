#include "ops/cross_entropy_kernels.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

// top' = max(top, max l),  sum' = sum·exp(top − top') + Σ exp(l − top');  one row
template <class T>
void absorb_row(T* l, std::int64_t n, double& top, double& sum, T* acc, std::int64_t d) {
  const T highest = std::max(T(top), row_max(l, n));
  if (double(highest) != top) {
    const double shrink = std::exp(top - double(highest));
    sum *= shrink;
    if (acc) row_scale(acc, T(shrink), d);
    top = double(highest);
  }
  sum += double(row_exp(l, highest, n));
}

void absorb_logits(const View& logits, std::int64_t first, LogitRows& rows, Tensor& acc) {
  visit_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    const std::int64_t n = logits.cols(), d = acc ? acc.shape()[1] : 0;
    const auto targets = rows.targets.data<std::int32_t>();
    double *const top = rows.top.mutable_data<double>().data(), *const sum = rows.sum.mutable_data<double>().data();
    double* const hit = rows.hit.mutable_data<double>().data();
    T* const sums = acc ? acc.mutable_data<T>().data() : nullptr;
    T* const data = logits.data<T>();
    parallel_for(logits.rows(), row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        T* const row = data + i * logits.stride();
        const std::int64_t target = targets[std::size_t(i)] - first;
        if (0 <= target && target < n) hit[i] = double(row[target]);
        absorb_row(row, n, top[i], sum[i], sums ? sums + i * d : nullptr, d);
      }
    });
  });
}

void logit_gradient(const View& logits, std::int64_t first, const LogitRows& rows, bool raised) {
  visit_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    const std::int64_t n = logits.cols();
    const auto targets = rows.targets.data<std::int32_t>();
    const auto top = rows.top.data<double>(), sum = rows.sum.data<double>();
    T* const data = logits.data<T>();
    parallel_for(logits.rows(), row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        T* const row = data + i * logits.stride();
        const std::int64_t target = targets[std::size_t(i)] - first;
        if (!raised) row_exp(row, T(top[std::size_t(i)]), n);
        row_scale(row, T(1 / sum[std::size_t(i)]), n);
        if (0 <= target && target < n) row[target] -= 1;
      }
    });
  });
}

void hidden_gradient(const Tensor& acc, const LogitRows& rows, const Tensor& w, const Tensor& ids, Tensor& dh) {
  visit_float(acc.dtype(), "cross_entropy", [&]<class T>() {
    const std::int64_t d = acc.shape()[1];
    const auto sum = rows.sum.data<double>();
    const auto id = ids.data<std::int32_t>();
    const T *const a = acc.data<T>().data(), *const b = w.data<T>().data();
    T* const out = dh.mutable_data<T>().data();
    parallel_for(acc.shape()[0], row_grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T scale = T(1 / sum[std::size_t(i)]);
        map_row(
            out + id[std::size_t(i)] * d, d, [scale](T x, T y) { return scale * x - y; }, a + i * d, b + i * d);
      }
    });
  });
}

}  // namespace

constinit KernelSlot<void(const View&, std::int64_t, LogitRows&, Tensor&)> absorb_logits_kernel("absorb_logits",
                                                                                                absorb_logits);
constinit KernelSlot<void(const View&, std::int64_t, const LogitRows&, bool)> logit_gradient_kernel("logit_gradient",
                                                                                                    logit_gradient);
constinit KernelSlot<void(const Tensor&, const LogitRows&, const Tensor&, const Tensor&, Tensor&)>
    hidden_gradient_kernel("hidden_gradient", hidden_gradient);

}  // namespace sinter
