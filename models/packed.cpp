#include "models/packed.h"

#include <cmath>

#include "models/weights/formats.h"

namespace sinter {

std::span<const WeightFormat> weight_formats() {
  static constexpr WeightFormat kFormats[] = {{"dense", 1, load_dense},
                                              {"grouped_int", 2, load_grouped_int},
                                              {"bitmap", 1, load_bitmap},
                                              {"n_of_m", 1, load_n_of_m}};
  return kFormats;
}

double stored_bytes(double m, double n, const StoredAs& as) {
  const double mask = as.kept < 1 ? m * n / 8 : 0;
  if (as.bits == 0) return 2 * as.kept * m * n + mask;
  const double groups = as.group > 0 ? std::ceil(n / double(as.group)) : 1;
  return as.kept * m * std::ceil(n * double(as.bits) / 8) + mask + 3 * m * groups;
}

FrozenWeightPtr load_packed(const Packed& p, std::string_view name) {
  for (const WeightFormat& f : weight_formats()) {
    if (f.tag != p.tag) continue;
    require(1 <= p.version && p.version <= f.version, ErrorCode::input, name, "format \"", p.tag, "\" has version ",
            p.version, ", this program reads up to ", f.version);
    try {
      return f.load(p);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::input) throw;
      fail(ErrorCode::input, name, e.what());
    }
  }
  fail(ErrorCode::input, name, "unknown weight format \"", p.tag, "\"");
}

}  // namespace sinter
