#include "train/compress/mask.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "core/error.h"
#include "core/match.h"

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
  std::int64_t ties;  // how many entries equal to it go
};

// The count-th smallest key (count >= 1), by radix selection from the leading digit on.
template <class T>
Threshold<T> threshold(std::span<const T> score, std::int64_t count) {
  constexpr int kDigit = 11;
  std::array<std::int64_t, 1 << kDigit> histogram;
  Key<T> prefix = 0, known = 0;
  std::int64_t rank = count - 1;
  for (int left = int(sizeof(T)) * 8 - 1; left > 0;) {
    const int width = std::min(kDigit, left);
    const Key<T> digit = (Key<T>(1) << width) - 1;
    left -= width;
    histogram.fill(0);
    for (const T s : score) {
      const Key<T> key = key_of(s);
      if ((key & known) == prefix) ++histogram[std::size_t((key >> left) & digit)];
    }
    std::size_t bucket = 0;
    while (rank >= histogram[bucket]) rank -= histogram[bucket++];
    prefix |= Key<T>(bucket) << left;
    known |= digit << left;
  }
  return {prefix, rank + 1};
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
      check_sparsity(p, p.of, "pattern");
      return p;
    }
  }
  fail(ErrorCode::usage, "pattern", "\"", text, "\" is not N:M, weights kept of a group, as in 2:4");
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
    require(f->zeros >= 0 && f->zeros < 1, ErrorCode::usage, where, "sparsity ", f->zeros, " is not in [0, 1)");
  if (const auto* p = std::get_if<KeepOf>(&s)) {
    require(1 <= p->keep && p->keep <= p->of && p->of <= kLargestGroup, ErrorCode::usage, where, "pattern ", p->keep,
            ':', p->of, " must keep at least 1 of at most ", kLargestGroup);
    require(columns % p->of == 0, ErrorCode::usage, where, columns, " columns do not divide into groups of ", p->of);
  }
}

std::int64_t zeros_among(Fraction f, std::int64_t count) { return std::int64_t(std::floor(double(count) * f.zeros)); }

template <class T>
void drop_lowest(std::span<const T> score, std::int64_t count, std::span<std::uint8_t> drop) {
  if (count <= 0) {
    std::ranges::fill(drop, std::uint8_t(0));
    return;
  }
  const auto [key, allowed] = threshold(score, count);
  std::int64_t ties = allowed;
  for (std::size_t i = 0; i < score.size(); ++i) {
    const Key<T> k = key_of(score[i]);
    drop[i] = k < key || (k == key && ties-- > 0);
  }
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
