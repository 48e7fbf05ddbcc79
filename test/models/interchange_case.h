#pragma once
#include <map>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/tensor_file.h"
#include "models/checkpoint.h"
#include "models/interchange/grid_linear.h"
#include "test/check.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"

// Checkpoints of one linear, `l`, in another program's format.
namespace sinter::test {

struct ForeignModel {
  TempDir dir;
  ForeignModel(const NamedTensors& tensors, const Json& config, const std::string& config_file = "config.json",
               const std::string& weights = "model.safetensors") {
    write_tensors(dir / weights, tensors);
    write_text_atomic(dir / config_file, json_text(config));
  }
  Packed packed() const { return Checkpoint(dir.path()).packed("l").value(); }
};

inline Json announced(Json quantization) { return {{"quantization_config", std::move(quantization)}}; }

// A file of test/golden/interchange: what a library wrote, and under "expect." what it must be read as.
struct GoldenLinear {
  NamedTensors tensors;
  std::map<std::string, Tensor> expected;
  Json config;
  std::string config_file;

  explicit GoldenLinear(const std::string& name) {
    const TensorFile file(golden("interchange/" + name + ".safetensors"));
    for (const auto& n : file.names()) {
      if (n.starts_with("expect.")) expected[n.substr(7)] = file.tensor(n);
      else tensors.emplace_back(n, file.tensor(n));
    }
    config = parse_json(file.metadata().at("config"), name);
    config_file = file.metadata().at("config_file");
  }
  ForeignModel model() const { return {tensors, config, config_file}; }
  // The tensor of that name, to be changed.
  Tensor& at(const std::string& name) {
    for (auto& [n, t] : tensors)
      if (n == name) return t;
    throw std::runtime_error("no tensor " + name);
  }
  void drop(const std::string& name) {
    std::erase_if(tensors, [&](const auto& t) { return t.first == name; });
  }
};

// Read with the codes, zeros and scales that the library wrote; `shift` is added to the codes of narrower ones.
inline void check_golden(const std::string& name) {
  CAPTURE(name);
  const GoldenLinear g(name);
  const auto w = from_packed(g.model().packed());
  REQUIRE(w.has_value());
  CHECK(same_bits(w->codes, g.expected.at("code")));
  CHECK(same_bits(w->zero, g.expected.at("zero")));
  CHECK(same_bits(w->scale, g.expected.at("scale")));
  const auto group_of = g.expected.at("group_of").data<std::int32_t>();
  for (std::size_t j = 0; j < group_of.size(); ++j)
    CHECK(group_of[j] == (w->group_of.empty() ? std::int64_t(j) / w->group : w->group_of[j]));
}

// Random codes and scales. `order`: groups of the right size over shuffled columns.
inline GridLinear random_grid(std::int64_t rows, std::int64_t cols, int bits, std::int64_t group, bool symmetric,
                              bool order, std::uint64_t seed = 3) {
  const Rng rng{seed};
  const std::uint64_t levels = std::uint64_t(1) << bits;
  GridLinear w{bits, group, Tensor::empty({rows, cols}, DType::u8), {}, {}, {}};
  const std::int64_t groups = (cols + group - 1) / group;
  auto codes = w.codes.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = std::uint8_t(rng.fork(1).below(i, levels));
  w.zero = Tensor::empty({rows, groups}, DType::u8);
  auto zero = w.zero.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < zero.size(); ++i)
    zero[i] = std::uint8_t(symmetric ? levels / 2 : rng.fork(2).below(i, levels));
  w.scale = Tensor::empty({rows, groups}, DType::f16);
  auto scale = w.scale.mutable_data<f16>();
  for (std::size_t i = 0; i < scale.size(); ++i) scale[i] = to_f16(float(0.01 + 0.05 * rng.fork(3).uniform(i)));
  if (!order) return w;
  for (std::int64_t j = 0; j < cols; ++j) w.group_of.push_back(std::int32_t((j * 7 + 3) % cols / group));
  return w;
}

inline void check_same_parts(const Packed& a, const Packed& b) {
  CHECK(a.tag == b.tag);
  CHECK(a.fields == b.fields);
  REQUIRE(a.parts.size() == b.parts.size());
  for (const auto& [name, t] : a.parts) CHECK_MESSAGE(same_bits(t, b.parts.at(name)), name);
}

}  // namespace sinter::test
