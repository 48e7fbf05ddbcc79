#include "train/compress/method.h"

namespace sinter {

std::unique_ptr<LayerMethod> make_magnitude(MethodOptions&);
std::unique_ptr<LayerMethod> make_rtn(MethodOptions&);
std::unique_ptr<LayerMethod> make_wanda(MethodOptions&);
std::unique_ptr<LayerMethod> make_dsnot(MethodOptions&);
std::unique_ptr<LayerMethod> make_sparsegpt(MethodOptions&);
std::unique_ptr<LayerMethod> make_gptq(MethodOptions&);

namespace {

constexpr MethodInfo kMethods[] = {
    {"magnitude", "Han et al. 2015", make_magnitude}, {"rtn", "rounding to nearest", make_rtn},
    {"wanda", "Sun et al. 2024", make_wanda},         {"sparsegpt", "Frantar & Alistarh 2023", make_sparsegpt},
    {"gptq", "Frantar et al. 2023", make_gptq},       {"dsnot", "Zhang et al. 2024", make_dsnot},
};

}  // namespace

std::span<const MethodInfo> methods() { return kMethods; }

std::unique_ptr<LayerMethod> make_method(std::string_view name, MethodOptions options) {
  std::string known;
  for (const MethodInfo& m : kMethods) {
    if (m.name == name) {
      auto made = m.make(options);
      options.finish(name);
      return made;
    }
    known += (known.empty() ? "" : ", ") + std::string(m.name);
  }
  fail(ErrorCode::usage, "method", "\"", name, "\" is none of ", known);
}

}  // namespace sinter
