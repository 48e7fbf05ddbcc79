#include "train/eval/ngram.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace sinter {
namespace {

constexpr int kEmSteps = 60;  // the weights move by less than 1e-4 after some 30 steps

// Index of `key` in a sorted list, or -1.
std::ptrdiff_t find(const std::vector<std::uint64_t>& sorted, std::uint64_t key) {
  const auto at = std::lower_bound(sorted.begin(), sorted.end(), key);
  return at != sorted.end() && *at == key ? at - sorted.begin() : -1;
}

// Two buckets per doubling of the mean count per follower; 0 is left to unseen contexts.
int bucket_of(double total, double followers, int buckets) {
  return std::min(buckets - 1, 1 + int(2 * std::log2(total / followers)));
}

}  // namespace

void Trigram::Table::count(std::vector<std::uint64_t> keys, std::uint64_t vocab) {
  *this = Table{.grams = {}, .contexts = {}, .gram_counts = {}, .totals = {}, .buckets = {}, .weight = weight};
  std::sort(keys.begin(), keys.end());
  std::vector<std::uint32_t> followers;
  for (std::size_t i = 0; i < keys.size();) {
    const std::size_t first = i;
    while (i < keys.size() && keys[i] == keys[first]) ++i;
    grams.push_back(keys[first]);
    gram_counts.push_back(std::uint32_t(i - first));
    if (contexts.empty() || contexts.back() != keys[first] / vocab) {
      contexts.push_back(keys[first] / vocab);
      totals.push_back(0);
      followers.push_back(0);
    }
    totals.back() += gram_counts.back();
    followers.back() += 1;
  }
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    buckets.push_back(std::uint8_t(bucket_of(totals[i], followers[i], kBuckets)));
  }
}

double Trigram::Table::estimate(std::uint64_t context_key, std::uint64_t w, std::uint64_t vocab) const {
  const std::ptrdiff_t gram = find(grams, context_key * vocab + w);
  return gram < 0 ? 0 : double(gram_counts[gram]) / totals[find(contexts, context_key)];
}

int Trigram::Table::bucket(std::uint64_t context_key) const {
  const std::ptrdiff_t at = find(contexts, context_key);
  return at < 0 ? 0 : buckets[at];
}

Trigram::Trigram(std::span<const std::int32_t> train, int vocab) : vocab_(std::uint64_t(std::max(vocab, 0))) {
  require(vocab > 0 && vocab < (1 << 20), ErrorCode::usage, "trigram", "vocabulary of ", vocab, ", expected 1 to 2^20");
  require(train.size() >= 20, ErrorCode::usage, "trigram", train.size(), " training ids, expected at least 20");
  const std::size_t counted = train.size() - train.size() / 10;
  count(train.first(counted));
  fit(train.subspan(counted));
  count(train);
}

void Trigram::count(std::span<const std::int32_t> ids) {
  std::vector<std::uint64_t> twos, threes;
  one_.assign(vocab_, 0);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    require(ids[i] >= 0 && std::uint64_t(ids[i]) < vocab_, ErrorCode::input, "trigram", "id ", ids[i], " at ", i,
            ", expected below ", vocab_);
    one_[ids[i]] += 1.0 / double(ids.size());
    if (i >= 1) twos.push_back(std::uint64_t(ids[i - 1]) * vocab_ + std::uint64_t(ids[i]));
    if (i >= 2)
      threes.push_back((std::uint64_t(ids[i - 2]) * vocab_ + std::uint64_t(ids[i - 1])) * vocab_ +
                       std::uint64_t(ids[i]));
  }
  two_.count(std::move(twos), vocab_);
  three_.count(std::move(threes), vocab_);
}

Trigram::Terms Trigram::terms(std::int32_t u, std::int32_t v, std::int32_t w) const {
  Terms t{{0, 0, one_[w], 1.0 / double(vocab_)}, 0, 0};
  if (v < 0) return t;
  t.b2 = two_.bucket(std::uint64_t(v));
  t.p[1] = two_.estimate(std::uint64_t(v), std::uint64_t(w), vocab_);
  if (u < 0) return t;
  const std::uint64_t pair = std::uint64_t(u) * vocab_ + std::uint64_t(v);
  t.b3 = three_.bucket(pair);
  t.p[0] = three_.estimate(pair, std::uint64_t(w), vocab_);
  return t;
}

std::array<double, 4> Trigram::by_bucket(int b3, int b2) const {
  const double l3 = three_.weight[b3], l2 = two_.weight[b2], l1 = unigram_weight_;
  return {l3, (1 - l3) * l2, (1 - l3) * (1 - l2) * l1, (1 - l3) * (1 - l2) * (1 - l1)};
}

std::array<double, 4> Trigram::mixture(std::int32_t u, std::int32_t v) const {
  const Terms t = terms(u, v, 0);
  return by_bucket(t.b3, t.b2);
}

// EM: r_k = m_k p_k / sum m p is the share of order k in a held-back token; l3 <- mean r_3 over its bucket,
// l2 <- sum r_2 / sum (r_2 + r_1 + r_0) over its bucket, l1 <- sum r_1 / sum (r_1 + r_0).
void Trigram::fit(std::span<const std::int32_t> ids) {
  three_.weight.fill(0.5);
  two_.weight.fill(0.5);
  three_.weight[0] = two_.weight[0] = 0;
  std::vector<Terms> tokens;
  for (std::size_t i = 2; i < ids.size(); ++i) {
    for (std::size_t k = i - 2; k <= i; ++k) {
      require(ids[k] >= 0 && std::uint64_t(ids[k]) < vocab_, ErrorCode::input, "trigram", "id ", ids[k],
              ", expected below ", vocab_);
    }
    tokens.push_back(terms(ids[i - 2], ids[i - 1], ids[i]));
  }
  for (int step = 0; step < kEmSteps; ++step) {
    std::array<double, kBuckets> got3{}, all3{}, got2{}, all2{};
    double got1 = 0, all1 = 0;
    for (const Terms& t : tokens) {
      std::array<double, 4> r = by_bucket(t.b3, t.b2);
      double sum = 0;
      for (int k = 0; k < 4; ++k) sum += r[k] *= t.p[k];
      for (double& share : r) share /= sum;
      got3[t.b3] += r[0], all3[t.b3] += 1;
      got2[t.b2] += r[1], all2[t.b2] += 1 - r[0];
      got1 += r[2], all1 += r[2] + r[3];
    }
    // One imagined token more that the lower order explained: no weight reaches 1, so no token ever has probability 0.
    for (int b = 1; b < kBuckets; ++b) {
      if (all3[b] > 0) three_.weight[b] = got3[b] / (all3[b] + 1);
      if (all2[b] > 0) two_.weight[b] = got2[b] / (all2[b] + 1);
    }
    if (all1 > 0) unigram_weight_ = got1 / (all1 + 1);
  }
}

double Trigram::probability(std::int32_t u, std::int32_t v, std::int32_t w) const {
  const Terms t = terms(u, v, w);
  const std::array<double, 4> m = by_bucket(t.b3, t.b2);
  return m[0] * t.p[0] + m[1] * t.p[1] + m[2] * t.p[2] + m[3] * t.p[3];
}

double Trigram::loss(std::span<const std::int32_t> ids) const {
  require(!ids.empty(), ErrorCode::usage, "trigram", "no ids to measure on");
  double sum = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    require(ids[i] >= 0 && std::uint64_t(ids[i]) < vocab_, ErrorCode::input, "trigram", "id ", ids[i],
            ", expected below ", vocab_);
    sum -= std::log(probability(i >= 2 ? ids[i - 2] : -1, i >= 1 ? ids[i - 1] : -1, ids[i]));
  }
  return sum / double(ids.size());
}

double trigram_loss(std::span<const std::int32_t> train_ids, std::span<const std::int32_t> held_ids, int vocab) {
  return Trigram(train_ids, vocab).loss(held_ids);
}

}  // namespace sinter
