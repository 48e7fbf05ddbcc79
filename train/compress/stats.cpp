#include "train/compress/stats.h"

#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/parallel.h"
#include "models/linear.h"
#include "ops/linalg.h"

namespace sinter {
namespace {

constexpr std::int64_t kColumns = 256, kRows = 64;  // one parallel chunk

void scale_all(Tensor& t, double s) {
  if (!t) return;
  visit_float(t.dtype(), "statistics", [&]<class T>() {
    for (T& v : t.mutable_data<T>()) v *= T(s);
  });
}

// Sums of one sequence [length, n]: of the squares and, where there is room for them, of the values, and the variance
// that they leave. Each sequence is summed on its own, so that long sums stay exact enough.
template <class T>
void add_sequence(const T* x, std::int64_t length, std::int64_t n, T* square, T* mean, T* variance) {
  parallel_for(n, kColumns, [&](std::int64_t begin, std::int64_t end) {
    const auto width = std::size_t(end - begin);
    std::vector<T> sum(width, T(0)), part(width, T(0));
    const auto each_row = [&](auto&& f) {
      for (std::int64_t t = 0; t < length; ++t) {
        const T* const row = x + t * n + begin;
        for (std::size_t j = 0; j < width; ++j) f(j, row[j]);
      }
    };
    each_row([&](std::size_t j, T v) { part[j] += v * v; });
    for (std::size_t j = 0; j < width; ++j) square[std::size_t(begin) + j] += part[j];
    if (!mean && !variance) return;
    each_row([&](std::size_t j, T v) { sum[j] += v; });
    if (mean)
      for (std::size_t j = 0; j < width; ++j) mean[std::size_t(begin) + j] += sum[j];
    if (!variance) return;
    for (T& s : sum) s /= T(length);
    part.assign(width, T(0));
    each_row([&](std::size_t j, T v) { part[j] += (v - sum[j]) * (v - sum[j]); });
    for (std::size_t j = 0; j < width; ++j) variance[std::size_t(begin) + j] += part[j] / T(length);
  });
}

// Σ (y − bias)² of one row, in lanes that the compiler keeps in one register.
template <class T>
double power(std::span<const T> y, std::span<const float> bias) {
  constexpr std::size_t kLanes = 8;
  std::array<double, kLanes> sum{};
  const auto add = [&](std::size_t j, std::size_t lane) {
    const double v = double(y[j]) - (bias.empty() ? 0. : double(bias[j]));
    sum[lane] += v * v;
  };
  std::size_t j = 0;
  for (; j + kLanes <= y.size(); j += kLanes)
    for (std::size_t k = 0; k < kLanes; ++k) add(j + k, k);
  for (; j < y.size(); ++j) add(j, 0);
  return std::accumulate(sum.begin(), sum.end(), 0.);
}

double power(const Tensor& y, const Tensor& bias) {
  const std::int64_t rows = y.shape()[0], m = y.shape()[1];
  std::vector<double> sums(std::size_t(rows), 0.);
  visit_float(y.dtype(), "statistics", [&]<class T>() {
    const auto Y = y.data<T>();
    const auto b = bias ? bias.data<float>() : std::span<const float>();
    parallel_for(rows, kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t)
        sums[std::size_t(t)] = power(Y.subspan(std::size_t(t * m), std::size_t(m)), b);
    });
  });
  return std::accumulate(sums.begin(), sums.end(), 0.);
}

}  // namespace

std::vector<double> hessian_diagonal(const LayerStats& s) {
  const Tensor& t = s.gram ? s.gram : s.column_sq;
  if (!t) return {};
  const std::int64_t n = t.shape()[0], step = s.gram ? n + 1 : 1;
  std::vector<double> h(static_cast<std::size_t>(n));
  visit_float(t.dtype(), "statistics", [&]<class T>() {
    const double factor = s.gram ? 1 : 2;
    for (std::int64_t j = 0; j < n; ++j) h[std::size_t(j)] = factor * double(t.data<T>()[std::size_t(j * step)]);
  });
  return h;
}

void check_finite(const LayerStats& s, std::string_view linear) {
  if (s.not_finite)
    fail(ErrorCode::numeric, linear, "the calibration inputs of column ", s.not_finite->column,
         " are not finite, first in window ", s.not_finite->sequence);
  if (!s.column_sq) return;
  visit_float(s.column_sq.dtype(), linear, [&]<class T>() {
    const auto sq = s.column_sq.data<T>();
    for (std::size_t j = 0; j < sq.size(); ++j)
      require(std::isfinite(sq[j]), ErrorCode::numeric, linear, "the calibration inputs of column ", j,
              " are not finite");
  });
}

StatsCollector::StatsCollector(StatsRequest request, std::span<Linear* const> wanted, std::int64_t length)
    : request_(request), length_(length) {
  for (const Linear* l : wanted) entries_[l];
}

void StatsCollector::on_linear(const Linear& which, const Tensor& x, const Tensor& y) {
  const auto it = entries_.find(&which);
  if (it == entries_.end()) return;
  Entry& mine = it->second;
  const bool shared = last_ && last_.raw() == x.raw() && last_.shape() == x.shape() && last_entry_.leader != &which;
  if (!mine.stats) mine = shared ? last_entry_ : Entry{std::make_shared<LayerStats>(), &which};
  require(mine.leader == (shared ? last_entry_.leader : &which), ErrorCode::unsupported, which.name(),
          "shares its input with another linear only at times");
  mine.energy += power(y, which.bias() ? values(*which.bias()) : Tensor());
  if (shared) return;
  add(*mine.stats, x);
  last_ = x;
  last_entry_ = {mine.stats, &which};
}

void StatsCollector::add(LayerStats& s, const Tensor& x) const {
  const std::int64_t tokens = x.shape()[0], n = x.shape()[1];
  require(length_ > 0 && tokens % length_ == 0, ErrorCode::shape, "statistics", tokens,
          " rows are not whole sequences of ", length_);
  if (request_.gram) {
    if (!s.gram) s.gram = Tensor::zeros({n, n}, x.dtype());
    add_gram(s.gram, x);
  }
  const auto room = [&](Tensor& t, bool wanted) {
    if (wanted && !t) t = Tensor::zeros({n}, x.dtype());
  };
  room(s.column_sq, true);
  room(s.mean, request_.mean);
  room(s.variance, request_.variance);
  visit_float(x.dtype(), "statistics", [&]<class T>() {
    const auto X = x.data<T>();
    const auto data = [](Tensor& t) { return t ? t.mutable_data<T>().data() : nullptr; };
    T *const square = data(s.column_sq), *const mean = data(s.mean), *const variance = data(s.variance);
    for (std::int64_t t = 0; t < tokens; t += length_) {
      add_sequence(X.data() + t * n, length_, n, square, mean, variance);
      for (std::int64_t j = 0; j < n && !s.not_finite; ++j)
        if (!std::isfinite(square[j])) s.not_finite = {s.sequences + t / length_, j};
    }
  });
  s.tokens += tokens;
  s.sequences += tokens / length_;
}

void StatsCollector::finish() {
  last_ = {};
  last_entry_ = {};
  for (auto& [linear, e] : entries_) {
    if (!e.stats) continue;
    LayerStats& s = *e.stats;
    e.energy *= 2. / double(s.sequences);
    if (e.leader != linear) continue;
    scale_all(s.gram, 2. / double(s.sequences));
    for (Tensor* const t : {&s.column_sq, &s.mean, &s.variance}) scale_all(*t, 1. / double(s.sequences));
  }
}

std::shared_ptr<LayerStats> StatsCollector::of(const Linear& l) const {
  const auto it = entries_.find(&l);
  require(it != entries_.end() && it->second.stats, ErrorCode::unsupported, l.name(), "was not run: no statistics");
  return it->second.stats;
}

double StatsCollector::energy(const Linear& l) const {
  (void)of(l);
  return entries_.at(&l).energy;
}

}  // namespace sinter
