#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace sinter {

struct Unpruned {};
struct Fraction {
  double zeros;  // unstructured: this share of the weights becomes zero, in [0, 1)
};
struct KeepOf {
  int keep, of;  // n:m: of every `of` neighbouring inputs, `keep` stay; 2:4 is {2, 4}
};
using Sparsity = std::variant<Unpruned, Fraction, KeepOf>;

Sparsity parse_pattern(std::string_view text);  // "2:4" keeps 2 of 4; Error(usage)
std::string describe(const Sparsity&);  // "50 %", "2:4", "dense"

// Error(usage) for a share outside [0, 1) and for a pattern that does not divide the columns.
void check_sparsity(const Sparsity&, std::int64_t columns, std::string_view where);

std::int64_t zeros_among(Fraction, std::int64_t count);  // floor(count · zeros)

// drop_i = 1 for the `count` entries of smallest magnitude, else 0; of equals the first goes first. NaN counts as
// largest. Linear time.
template <class T>
void drop_lowest(std::span<const T> score, std::int64_t count, std::span<std::uint8_t> drop);

// One row (Wanda's comparison group), any sparsity; in n:m the zeros are of − keep per group.
template <class T>
void drop_in_row(std::span<const T> score, const Sparsity&, std::span<std::uint8_t> drop);

}  // namespace sinter
