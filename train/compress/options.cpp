#include "train/compress/options.h"

#include <algorithm>
#include <array>

namespace sinter {

std::string flag_of(const std::string& key) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kFlags{{{"bits", "--bits"},
                                                                                 {"group", "--group-size"},
                                                                                 {"sym", "--sym"},
                                                                                 {"mse", "--mse"},
                                                                                 {"act_order", "--act-order"},
                                                                                 {"static_groups", "--static-groups"},
                                                                                 {"damp", "--percdamp"},
                                                                                 {"block", "--block-size"}}};
  const auto* const found = std::ranges::find(kFlags, std::string_view(key), [](const auto& f) { return f.first; });
  return found == kFlags.end() ? "--set " + key : std::string(found->second);
}

}  // namespace sinter
