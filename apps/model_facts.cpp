#include "apps/model_facts.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "core/parallel.h"

namespace sinter {

std::string format_of(const Packed& p) {
  if (p.tag == "dense") return std::string(info(p.parts.at("weight").dtype()).name);
  std::string pattern, values;
  if (p.tag == "bitmap") pattern = "bitmap ";
  if (p.tag == "n_of_m") pattern = std::to_string(p.fields.at("keep")) + ":" + std::to_string(p.fields.at("of")) + " ";
  if (const auto it = p.parts.find("values"); it != p.parts.end())
    return pattern + std::string(info(it->second.dtype()).name);
  const std::int64_t group = p.fields.at("group"), cols = p.fields.at("cols");
  const bool ordered = p.parts.contains("order") || p.parts.contains("group_of");
  return pattern + std::to_string(p.fields.at("bits")) + " bits" +
         (group < cols ? " g" + std::to_string(group) : " per row") + (ordered ? " act-order" : "");
}

void BitShares::add(const BitShares& b, double times) {
  values += b.values * times;
  mask += b.mask * times;
  grid += b.grid * times;
  order += b.order * times;
}

void BitShares::divide(double by) {
  for (double* v : {&values, &mask, &grid, &order}) *v /= by;
}

BitShares bits_of(const Packed& p, std::int64_t entries) {
  BitShares b;
  for (const auto& [name, part] : p.parts) {
    const double bits = 8 * double(part.bytes()) / double(entries);
    if (name == "mask") b.mask += bits;
    else if (name == "scale" || name == "zero") b.grid += bits;
    else if (name == "order" || name == "group_of") b.order += bits;
    else b.values += bits;
  }
  return b;
}

double zero_share(const FrozenWeight& w) {
  const std::int64_t out = w.out_features(), in = w.in_features(), strip = std::max<std::int64_t>(1, (1 << 18) / in);
  std::atomic<std::int64_t> zeros{0};
  parallel_for(out, strip, [&](std::int64_t begin, std::int64_t end) {
    const Tensor rows = w.dense({begin, end});
    zeros += std::ranges::count(rows.data<float>(), 0.0f);
  });
  return double(zeros) / double(out * in);
}

std::int64_t first_unsound(const Tensor& t) {
  if (!is_float(t.dtype())) return -1;
  constexpr std::int64_t kChunk = 1 << 20;
  std::vector<std::int64_t> found(std::size_t((t.numel() + kChunk - 1) / kChunk), -1);
  visit_stored(t.dtype(), "info --verify", [&]<class T>() {
    const auto x = t.data<T>();
    parallel_for(t.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        if (!std::isfinite(to_float(x[std::size_t(i)]))) {
          found[std::size_t(begin / kChunk)] = i;
          return;
        }
    });
  });
  for (const auto i : found)
    if (i >= 0) return i;
  return -1;
}

std::int64_t parameters_of(CausalLM& model) {
  std::int64_t n = 0;
  const auto linear = [&n](Linear& l) { n += l.out_features() * l.in_features() + (l.bias() ? l.out_features() : 0); };
  model.each_linear(linear);
  model.each_projection(linear);
  model.each_matrix([&n](const std::string&, Matrix& m) {
    const auto& w = *std::get<FrozenWeightPtr>(m);
    n += w.out_features() * w.in_features();
  });
  model.each_weight([&n](const std::string&, Weight& w) { n += std::get<Tensor>(w).numel(); });
  return n;
}

std::set<std::string> used_tensors(CausalLM& model) {
  std::set<std::string> used;
  const auto linear = [&used](Linear& l) {
    for (const auto& [part, t] : l.frozen()->pack().parts) used.insert(l.name() + "." + part);
    if (l.bias()) used.insert(l.name() + ".bias");
  };
  model.each_matrix([&](const std::string& name, Matrix& m) {
    const std::string stem = name.substr(0, name.rfind('.'));
    for (const auto& [part, t] : std::get<FrozenWeightPtr>(m)->pack().parts) used.insert(stem + "." + part);
  });
  model.each_weight([&](const std::string& name, Weight&) { used.insert(name); });
  model.each_projection(linear);
  model.each_linear(linear);
  return used;
}

}  // namespace sinter
