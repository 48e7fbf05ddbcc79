#include "train/compress/mask.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/match.h"
#include "core/parallel.h"

namespace sinter {
namespace {

constexpr int kLargestGroup = 128;

template <class T>
using Key = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

// Magnitudes of floats are ordered as their bits are.
template <class T>
Key<T> key_of(T v) {
  return std::bit_cast<Key<T>>(v) & ~(Key<T>(1) << (sizeof(T) * 8 - 1));
}

template <class T>
struct Threshold {
  Key<T> key;  // of the last entry that goes
  std::vector<std::int64_t> ties;  // of each chunk, how many entries equal to it go
};

constexpr std::int64_t kChunk = 1 << 15;  // entries that a thread looks at
constexpr int kDigit = 11;

// The digit of a key that holds its rank-th smallest entry; rank becomes that among the entries with this digit.
template <class Count>
std::size_t bucket_of(const Count& histogram, std::int64_t& rank) {
  std::size_t bucket = 0;
  while (rank >= histogram[bucket]) rank -= histogram[bucket++];
  return bucket;
}

// The count-th smallest key (count >= 1) and the entries equal to it that go, by radix selection from the leading digit
// on. After the first digit few entries are left; those of each chunk keep their order.
template <class T>
Threshold<T> threshold(std::span<const T> score, std::int64_t count) {
  constexpr int kBits = int(sizeof(T)) * 8 - 1;
  const auto n = std::int64_t(score.size());
  std::vector<std::array<std::int32_t, 1 << kDigit>> counts(std::size_t((n + kChunk - 1) / kChunk));
  parallel_for(n, kChunk, [&](std::int64_t begin, std::int64_t end) {
    auto& mine = counts[std::size_t(begin / kChunk)];
    mine.fill(0);
    for (std::int64_t i = begin; i < end; ++i) ++mine[std::size_t(key_of(score[std::size_t(i)]) >> (kBits - kDigit))];
  });
  std::array<std::int64_t, 1 << kDigit> histogram{};
  for (const auto& c : counts)
    for (std::size_t d = 0; d < c.size(); ++d) histogram[d] += c[d];
  std::int64_t rank = count - 1;
  const auto leading = Key<T>(bucket_of(histogram, rank));

  std::vector<std::vector<Key<T>>> near(counts.size());
  parallel_for(n, kChunk, [&](std::int64_t begin, std::int64_t end) {
    auto& mine = near[std::size_t(begin / kChunk)];
    mine.reserve(std::size_t(counts[std::size_t(begin / kChunk)][leading]));
    for (std::int64_t i = begin; i < end; ++i)
      if (const Key<T> key = key_of(score[std::size_t(i)]); key >> (kBits - kDigit) == leading) mine.push_back(key);
  });
  Key<T> prefix = leading;
  for (int left = kBits - kDigit; left > 0;) {
    const int width = std::min(kDigit, left);
    left -= width;
    histogram.fill(0);
    for (const auto& chunk : near)
      for (const Key<T> key : chunk)
        if (key >> (left + width) == prefix) ++histogram[std::size_t(key >> left & ((Key<T>(1) << width) - 1))];
    prefix = prefix << width | Key<T>(bucket_of(histogram, rank));
  }
  Threshold<T> t{prefix, {}};
  for (const auto& chunk : near) {
    const std::int64_t equal = std::ranges::count(chunk, prefix), go = std::min(equal, rank + 1);
    t.ties.push_back(go);
    rank -= go;
  }
  return t;
}

// Few entries: each is dropped when fewer than `count` go before it.
template <class T>
void drop_in_group(std::span<const T> score, int count, std::span<std::uint8_t> drop) {
  for (std::size_t i = 0; i < score.size(); ++i) {
    int before = 0;
    for (std::size_t k = 0; k < score.size(); ++k)
      before += key_of(score[k]) < key_of(score[i]) || (k < i && key_of(score[k]) == key_of(score[i]));
    drop[i] = before < count;
  }
}

}  // namespace

Sparsity parse_pattern(std::string_view text) {
  KeepOf p{0, 0};
  const auto colon = text.find(':');
  if (colon != text.npos) {
    const auto read = [](std::string_view s, int& v) {
      const auto [end, ec] = std::from_chars(s.data(), s.data() + s.size(), v);
      return ec == std::errc() && end == s.data() + s.size();
    };
    if (read(text.substr(0, colon), p.keep) && read(text.substr(colon + 1), p.of)) {
      check_sparsity(p, p.of, "compress");
      return p;
    }
  }
  fail(ErrorCode::usage, "--pattern", "\"", text, "\" is not N:M, weights kept of a group, as in 2:4");
}

std::string describe(const Sparsity& s) {
  std::ostringstream text;
  std::visit(Match{[&](Unpruned) { text << "dense"; }, [&](Fraction f) { text << f.zeros * 100 << " %"; },
                   [&](KeepOf p) { text << p.keep << ':' << p.of; }},
             s);
  return text.str();
}

void check_sparsity(const Sparsity& s, std::int64_t columns, std::string_view where) {
  if (const auto* f = std::get_if<Fraction>(&s))
    require(f->zeros >= 0 && f->zeros < 1, ErrorCode::usage, where, "--sparsity ", f->zeros, " is not in [0, 1)");
  if (const auto* p = std::get_if<KeepOf>(&s)) {
    require(1 <= p->keep && p->keep <= p->of && p->of <= kLargestGroup, ErrorCode::usage, where,
            "--pattern N:M keeps N of every M, 1 <= N <= M <= ", kLargestGroup, "; found ", p->keep, ':', p->of);
    require(columns % p->of == 0, ErrorCode::usage, where, "its ", columns, " inputs do not divide into groups of ",
            p->of, " (--pattern ", p->keep, ':', p->of, ")");
  }
}

std::int64_t zeros_among(Fraction f, std::int64_t count) { return std::int64_t(std::floor(double(count) * f.zeros)); }

template <class T>
void drop_lowest(std::span<const T> score, std::int64_t count, std::span<std::uint8_t> drop) {
  if (count <= 0) {
    std::ranges::fill(drop, std::uint8_t(0));
    return;
  }
  const Threshold<T> last = threshold(score, count);
  parallel_for(std::int64_t(score.size()), kChunk, [&](std::int64_t begin, std::int64_t end) {
    const auto here = score.subspan(std::size_t(begin), std::size_t(end - begin));
    const auto out = drop.subspan(std::size_t(begin), here.size());
    for (std::size_t i = 0; i < here.size(); ++i) out[i] = key_of(here[i]) < last.key;
    std::int64_t ties = last.ties[std::size_t(begin / kChunk)];
    for (std::size_t i = 0; ties > 0; ++i)
      if (key_of(here[i]) == last.key) {
        out[i] = 1;
        --ties;
      }
  });
}

template <class T>
void drop_in_row(std::span<const T> score, const Sparsity& s, std::span<std::uint8_t> drop) {
  std::visit(Match{[&](Unpruned) { std::ranges::fill(drop, std::uint8_t(0)); },
                   [&](Fraction f) { drop_lowest(score, zeros_among(f, std::int64_t(score.size())), drop); },
                   [&](KeepOf p) {
                     const auto of = std::size_t(p.of);
                     for (std::size_t j = 0; j + of <= score.size(); j += of)
                       drop_in_group(score.subspan(j, of), p.of - p.keep, drop.subspan(j, of));
                   }},
             s);
}

template void drop_lowest(std::span<const float>, std::int64_t, std::span<std::uint8_t>);
template void drop_lowest(std::span<const double>, std::int64_t, std::span<std::uint8_t>);
template void drop_in_row(std::span<const float>, const Sparsity&, std::span<std::uint8_t>);
template void drop_in_row(std::span<const double>, const Sparsity&, std::span<std::uint8_t>);

}  // namespace sinter
