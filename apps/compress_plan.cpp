#include "apps/compress_plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/parts.h"
#include "ops/gemm.h"

namespace sinter {
namespace {

constexpr double kSweepCost = 4;  // a column sweep runs at about a quarter of a product's rate

double measured_flops() {
  constexpr std::int64_t kSize = 512;
  const Tensor a = Tensor::full({kSize, kSize}, 0.5, DType::f32);
  Tensor c = Tensor::zeros({kSize, kSize}, DType::f32);
  const auto start = std::chrono::steady_clock::now();
  double seconds = 0;
  int runs = 0;
  for (; seconds < 0.2; ++runs) {
    gemm(a, Trans::no, a, Trans::yes, View(c));
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return 2.0 * kSize * kSize * kSize * runs / seconds;
}

struct Work {  // of one block
  double weights = 0, gram_bytes = 0, factor_bytes = 0;
  double forward = 0, gram = 0, solve = 0;  // floating-point operations
};

Work work_of(Block& block, const ModelConfig& c, const CompressFlags& f, bool solves, double tokens, double length) {
  Work w;
  for (const auto& stage : block.stages()) {
    const double n = double(stage.front()->in_features());
    bool any = false;
    for (const Linear* l : stage) {
      const double size = double(l->out_features()) * n;
      w.forward += 2 * size * tokens;
      if (!f.wanted(l->name())) continue;
      any = true;
      w.weights += size;
      if (solves) w.solve += 2 * size * n;  // the column sweep
    }
    if (!any || tokens == 0) continue;
    w.gram += tokens * n * n;
    w.gram_bytes = f.true_sequential ? std::max(w.gram_bytes, 4 * n * n) : w.gram_bytes + 4 * n * n;
    if (!solves) continue;
    w.solve += n * n * n;  // Cholesky factor and triangular inverse
    w.factor_bytes = std::max(w.factor_bytes, 8 * n * n);
  }
  w.forward += 2 * tokens * length * double(c.heads * c.head_dim);  // causal attention
  return w;
}

double output_size(CausalLM& model, const CompressFlags& f, std::uint64_t bytes_on_disk) {
  double bytes = double(bytes_on_disk);
  model.each_linear([&](Linear& l) {
    if (!f.wanted(l.name()) || !f.bits) return;
    const double m = double(l.out_features()), n = double(l.in_features());
    const double groups = f.group_size.value_or(-1) > 0 ? std::ceil(n / double(*f.group_size)) : 1;
    bytes -= double(stored_bytes(*l.frozen()));
    bytes += f.save == "dense" ? 4 * m * n : m * (std::ceil(n * double(*f.bits) / 8) + 5 * groups);
  });
  return bytes;
}

}  // namespace

CompressEstimate estimate_compression(CausalLM& model, const CompressFlags& f, bool solves, std::int64_t windows,
                                      std::int64_t length, std::uint64_t bytes_on_disk) {
  CompressEstimate e;
  model.each_linear([&](Linear& l) {
    if (!f.wanted(l.name())) return;
    ++e.linears;
    e.weights += l.out_features() * l.in_features();
  });
  e.flops_per_second = measured_flops();
  const ModelConfig& c = model.config();
  const double tokens = double(windows * length);
  Work largest, total;
  double passes = 0;
  for (const auto& block : model.blocks()) {
    const Work w = work_of(*block, c, f, solves, tokens, double(length));
    passes = f.true_sequential ? double(block->stages().size()) + 1 : 2;
    largest.weights = std::max(largest.weights, w.weights);
    largest.gram_bytes = std::max(largest.gram_bytes, w.gram_bytes);
    largest.factor_bytes = std::max(largest.factor_bytes, w.factor_bytes);
    total.forward += passes * w.forward;
    total.gram += w.gram;
    total.solve += w.solve;
  }
  const double rate = e.flops_per_second, element = 4;
  e.output_bytes = output_size(model, f, bytes_on_disk);
  e.phases = {{"hidden states and forward passes", element * tokens * double(c.hidden), total.forward / rate},
              {"statistics of one block", largest.gram_bytes, total.gram / rate},
              {"solving one linear at a time", largest.factor_bytes + 3 * element * largest.weights,
               kSweepCost * total.solve / rate},
              {"compressed weights until they are written", e.output_bytes, 0}};
  return e;
}

void print_estimate(std::ostream& out, const CompressEstimate& e) {
  double bytes = 0, seconds = 0;
  out << e.linears << " linears with " << e.weights << " weights would be compressed; products run at "
      << fixed(e.flops_per_second / 1e9, 1) << " GFLOP/s here\n";
  for (const auto& p : e.phases) {
    out << "  " << p.name << std::string(44 - p.name.size(), ' ') << human_bytes(p.bytes)
        << (p.seconds > 0 ? ", about " + fixed(p.seconds, 1) + " s" : "") << "\n";
    bytes += p.bytes;
    seconds += p.seconds;
  }
  out << "about " << human_bytes(bytes) << " of memory besides the mapped checkpoint, " << fixed(seconds, 1) << " s, "
      << human_bytes(e.output_bytes) << " on disk\n";
}

Json estimate_json(const CompressEstimate& e) {
  Json phases = Json::array();
  double bytes = 0, seconds = 0;
  for (const auto& p : e.phases) {
    phases.push_back({{"phase", p.name}, {"bytes", p.bytes}, {"seconds", p.seconds}});
    bytes += p.bytes;
    seconds += p.seconds;
  }
  return {{"linears", e.linears},  {"weights", e.weights}, {"flops_per_second", e.flops_per_second}, {"phases", phases},
          {"memory_bytes", bytes}, {"seconds", seconds},   {"output_bytes", e.output_bytes}};
}

}  // namespace sinter
