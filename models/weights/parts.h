#pragma once
#include <initializer_list>
#include <string_view>

#include "ops/frozen_weight.h"

// Taking a Packed apart; what a layout does not name is Error(input).
namespace sinter {

void check_names(const Packed&, std::initializer_list<std::string_view> fields,
                 std::initializer_list<std::string_view> parts, std::string_view where);
std::int64_t field_of(const Packed&, const std::string& name, std::string_view where);  // which must be there
Tensor part_of(const Packed&, const std::string& name);  // or empty

}  // namespace sinter
