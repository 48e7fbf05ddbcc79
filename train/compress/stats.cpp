#include "train/compress/stats.h"

#include <vector>

#include "core/parallel.h"
#include "models/linear.h"
#include "ops/linalg.h"

namespace sinter {
namespace {

constexpr std::int64_t kColumns = 256;  // one parallel chunk

void scale_all(Tensor& t, double s) {
  visit_float(t.dtype(), "statistics", [&]<class T>() {
    for (T& v : t.mutable_data<T>()) v *= T(s);
  });
}

}  // namespace

StatsCollector::StatsCollector(StatsRequest request, std::span<Linear* const> wanted) : request_(request) {
  for (const Linear* l : wanted) entries_[l];
}

void StatsCollector::on_linear(const Linear& which, const Tensor& x) {
  const auto it = entries_.find(&which);
  if (it == entries_.end()) return;
  Entry& mine = it->second;
  const bool shared = last_ && last_.raw() == x.raw() && last_.shape() == x.shape() && last_entry_.leader != &which;
  if (!mine.stats) mine = shared ? last_entry_ : Entry{std::make_shared<LayerStats>(), &which};
  require(mine.leader == (shared ? last_entry_.leader : &which), ErrorCode::unsupported, which.name(),
          "shares its input with another linear only at times");
  if (shared) return;
  add(*mine.stats, x);
  last_ = x;
  last_entry_ = mine;
}

void StatsCollector::add(LayerStats& s, const Tensor& x) const {
  const std::int64_t tokens = x.shape()[0], n = x.shape()[1];
  s.tokens += tokens;
  if (request_.gram) {
    if (!s.gram) s.gram = Tensor::zeros({n, n}, x.dtype());
    add_gram(s.gram, x);
  }
  if (!request_.column_sq) return;
  if (!s.column_sq) s.column_sq = Tensor::zeros({n}, x.dtype());
  visit_float(x.dtype(), "statistics", [&]<class T>() {
    const auto X = x.data<T>();
    const auto total = s.column_sq.mutable_data<T>();
    parallel_for(n, kColumns, [&](std::int64_t begin, std::int64_t end) {
      std::vector<T> part(std::size_t(end - begin), T(0));  // of this pass, so that long sums stay exact enough
      for (std::int64_t t = 0; t < tokens; ++t) {
        const T* const row = &X[std::size_t(t * n + begin)];
        for (std::size_t j = 0; j < part.size(); ++j) part[j] += row[j] * row[j];
      }
      for (std::size_t j = 0; j < part.size(); ++j) total[std::size_t(begin) + j] += part[j];
    });
  });
}

void StatsCollector::finish(std::int64_t sequences) {
  last_ = {};
  last_entry_ = {};
  for (auto& [linear, e] : entries_) {
    if (!e.stats || e.leader != linear) continue;
    e.stats->sequences = sequences;
    if (e.stats->gram) scale_all(e.stats->gram, 2. / double(sequences));
    if (e.stats->column_sq) scale_all(e.stats->column_sq, 1. / double(sequences));
  }
}

std::shared_ptr<const LayerStats> StatsCollector::of(const Linear& l) const {
  const auto it = entries_.find(&l);
  require(it != entries_.end() && it->second.stats, ErrorCode::unsupported, l.name(), "was not run: no statistics");
  return it->second.stats;
}

}  // namespace sinter
