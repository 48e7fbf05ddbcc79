#pragma once
#include <cstdint>
#include <vector>

namespace sinter {

// Which rows of h are which sequence, and where each starts in its context: a batch of unequal lengths needs no padded
// rows.
struct Layout {
  struct Sequence {
    std::int64_t row, length, position;  // first row, rows, position of the first
  };
  std::vector<Sequence> sequences;

  static Layout one(std::int64_t length, std::int64_t position = 0) { return {{{0, length, position}}}; }
  static Layout equal(std::int64_t count, std::int64_t length) {
    Layout l;
    for (std::int64_t i = 0; i < count; ++i) l.sequences.push_back({i * length, length, 0});
    return l;
  }
  std::int64_t rows() const { return sequences.empty() ? 0 : sequences.back().row + sequences.back().length; }
  std::vector<std::int32_t> positions() const {  // of every row; the sequences follow one another
    std::vector<std::int32_t> p;
    for (const auto& s : sequences)
      for (std::int64_t i = 0; i < s.length; ++i) p.push_back(std::int32_t(s.position + i));
    return p;
  }
};

}  // namespace sinter
