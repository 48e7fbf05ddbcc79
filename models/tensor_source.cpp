#include "models/tensor_source.h"

namespace sinter {

Linear make_linear(TensorSource& t, const std::string& name, std::int64_t out, std::int64_t in, bool bias) {
  FrozenWeightPtr w = t.matrix(name, out, in);
  if (!bias) return {name, std::move(w)};
  return {name, std::move(w), Weight(t.vector(name + ".bias", {out}))};
}

Norm make_norm(TensorSource& t, const std::string& name, std::int64_t width, double eps, bool bias) {
  Norm n{name, t.vector(name + ".weight", {width}), {}, eps};
  if (bias) n.bias = t.vector(name + ".bias", {width});
  return n;
}

}  // namespace sinter
