#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

// The yardstick for small models: an interpolated trigram (Jelinek and Mercer 1980, with the context buckets of Chen
// and Goodman 1999, section 2.4), its weights fitted by EM on the last tenth of the training ids, then counted on all.
//   p(w|u,v) = l3 c(uvw)/c(uv) + (1 - l3) (l2 c(vw)/c(v) + (1 - l2) (l1 c(w)/N + (1 - l1)/V))
// l3 and l2 belong to the bucket of their context: how often it was seen per different follower.
namespace sinter {

class Trigram {
 public:
  // Errors: usage for fewer than 20 ids, input for an id outside [0, vocab).
  Trigram(std::span<const std::int32_t> train, int vocab);

  // p(w|u,v); a negative u or v says that there is no such word before w.
  double probability(std::int32_t u, std::int32_t v, std::int32_t w) const;

  // The mixture that stands for context (u,v): of the trigram, bigram, unigram and uniform estimates; sums to 1.
  std::array<double, 4> mixture(std::int32_t u, std::int32_t v) const;

  // Mean of -ln p over all ids, nats per token; the first two are predicted from what precedes them.
  double loss(std::span<const std::int32_t> ids) const;

 private:
  static constexpr int kBuckets = 32;  // bucket 0: a context that was never seen

  // The n-grams of one length, sorted; contexts are their first n - 1 words.
  struct Table {
    std::vector<std::uint64_t> grams, contexts;
    std::vector<std::uint32_t> gram_counts, totals;
    std::vector<std::uint8_t> buckets;
    std::array<double, kBuckets> weight{};
    void count(std::vector<std::uint64_t> keys, std::uint64_t vocab);
    std::ptrdiff_t context(std::uint64_t key) const;  // -1 when unseen
    double estimate(std::uint64_t context_key, std::uint64_t w, std::uint64_t vocab) const;
    int bucket(std::uint64_t context_key) const;
  };
  struct Terms {
    std::array<double, 4> p;
    int b3, b2;
  };  // estimates of the four orders and the two buckets

  void count(std::span<const std::int32_t> ids);
  void fit(std::span<const std::int32_t> ids);
  Terms terms(std::int32_t u, std::int32_t v, std::int32_t w) const;
  std::array<double, 4> by_bucket(int b3, int b2) const;

  std::uint64_t vocab_;
  Table three_, two_;
  std::vector<double> one_;  // c(w)/N
  double unigram_weight_ = 0.5;
};

// Trains on train_ids and returns the loss on held_ids, nats per token.
double trigram_loss(std::span<const std::int32_t> train_ids, std::span<const std::int32_t> held_ids, int vocab);

}  // namespace sinter
