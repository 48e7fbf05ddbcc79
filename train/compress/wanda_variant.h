#pragma once
#include <span>

#include "train/compress/mask.h"

namespace sinter {

// Wanda's variant: each row of score [rows, n] loses its lowest entries as long as their sum is at most α times that of
// the row, with one α for all rows, bisected in [0, 0.8] from 0.4 until the share of zeros is within 0.001 of what is
// asked for (or 40 times). The published code gives up at an interval of 0.001 already; otherwise these are its steps.
template <class T>
void drop_by_share(std::span<const T> score, std::int64_t rows, Fraction, std::span<std::uint8_t> drop);

}  // namespace sinter
