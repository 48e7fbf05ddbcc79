#include "models/interchange/hf_export.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "core/tensor_file.h"
#include "models/block_file.h"
#include "models/interchange/compressed_tensors.h"
#include "models/interchange/gptq.h"
#include "models/interchange/grid_linear.h"
#include "models/interchange/hf_export_config.h"
#include "ops/code_stream.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

// Tensors become files in the order they come; one file's are in memory.
class ShardWriter {
 public:
  ShardWriter(fs::path dir, std::uint64_t limit) : dir_(std::move(dir)), limit_(limit) {}

  void put(NamedTensors tensors) {
    std::uint64_t bytes = 0;
    for (const auto& [name, t] : tensors) bytes += t.bytes();
    if (pending_bytes_ > 0 && pending_bytes_ + bytes > limit_) flush();
    pending_bytes_ += bytes;
    total_ += bytes;
    for (auto& t : tensors) pending_.push_back(std::move(t));
  }
  // The number of files is part of their names.
  void finish() {
    flush();
    const int count = int(names_.size());
    if (count == 1) return fs::rename(dir_ / temporary(0), dir_ / "model.safetensors");
    Json map = Json::object();
    for (int i = 0; i < count; ++i) {
      fs::rename(dir_ / temporary(i), dir_ / shard_name(i, count));
      for (const auto& name : names_[std::size_t(i)]) map[name] = shard_name(i, count).string();
    }
    write_text_atomic(dir_ / "model.safetensors.index.json",
                      json_text({{"metadata", {{"total_size", total_}}}, {"weight_map", map}}));
  }
  std::uint64_t total() const { return total_; }

 private:
  static std::string temporary(int i) { return "part-" + std::to_string(i) + ".safetensors"; }
  void flush() {
    write_tensors(dir_ / temporary(int(names_.size())), pending_);
    names_.emplace_back();
    for (const auto& [name, t] : pending_) names_.back().push_back(name);
    pending_.clear();
    pending_bytes_ = 0;
  }
  fs::path dir_;
  std::uint64_t limit_, pending_bytes_ = 0, total_ = 0;
  NamedTensors pending_;
  std::vector<std::vector<std::string>> names_;  // of each file's tensors
};

// Base models of OPT leave the outermost module out of their names.
std::string full_name(const std::string& name) { return name.starts_with("decoder.") ? "model." + name : name; }

// ‖a − b‖ / ‖b‖ of f32 matrices.
double relative_error(const Tensor& a, const Tensor& b) {
  const auto x = a.data<float>(), y = b.data<float>();
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    difference += (double(x[i]) - y[i]) * (double(x[i]) - y[i]);
    norm += double(y[i]) * y[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference / norm);
}

class Export {
 public:
  Export(CausalLM& model, const fs::path& to, const ExportOptions& o)
      : model_(model), options_(o), facts_(grid_facts(model)), out_(to, o.shard_bytes), source_(source_dtype(model)) {
    const std::string obstacle = export_obstacle(facts_, o.format);
    require(obstacle.empty(), ErrorCode::usage, "export", obstacle);
    for (auto& f : facts_) {
      f.name = full_name(f.name);
      if (f.on_grid && !f.symmetric) version_ = 2;
    }
  }

  void write(LogSink& log) {
    model_.each_matrix([&](const std::string& name, Matrix& m) { out_.put({{full_name(name), floats(values(m))}}); });
    model_.each_weight([&](const std::string& name, Weight& w) { out_.put({{full_name(name), floats(values(w))}}); });
    model_.each_projection([&](Linear& l) {
      others_.push_back(full_name(l.name()));
      put_floats(l);
    });
    std::size_t done = 0;
    double weights = 0, bits = 0;
    model_.each_linear([&](Linear& l) {
      log.check_stop("export");
      const std::uint64_t before = out_.total();
      if (options_.format != ExportFormat::dense && facts_[done].on_grid) put_grid(l);
      else put_floats(l);
      bits += 8 * double(out_.total() - before - bias_bytes(l));
      weights += double(l.out_features()) * double(l.in_features());
      log.progress({"export", std::int64_t(++done), std::int64_t(facts_.size())});
    });
    out_.finish();
    report_.bytes = out_.total();
    report_.bits_per_weight = bits / weights;
  }

  // What config.json says differently from the source's.
  Json config_changes() {
    const DType stored = options_.dtype.value_or(widened_ ? DType::f32 : source_);
    const char* const name = stored == DType::bf16 ? "bfloat16" : stored == DType::f16 ? "float16" : "float32";
    Json changes = {{"quantization_config", nullptr}, {"compression_config", nullptr}};
    if (options_.format == ExportFormat::dense || source_ == DType::f32)
      changes["torch_dtype"] = name, changes["dtype"] = name;
    if (options_.format != ExportFormat::dense && source_ == DType::bf16)
      report_.notes.emplace_back("scales are f16; programs that load the model as bfloat16 round them: choose float16");
    if (options_.format == ExportFormat::gptq)
      changes["quantization_config"] = announce_gptq(facts_, version_, report_.notes);
    if (options_.format == ExportFormat::compressed_tensors) {
      others_.emplace_back("lm_head");
      changes["quantization_config"] = announce_compressed_tensors(facts_, others_, report_.notes);
    }
    return changes;
  }
  ExportReport take() { return std::move(report_); }

 private:
  Tensor floats(const Tensor& t) {
    if (options_.dtype && options_.format == ExportFormat::dense) return cast(t, *options_.dtype);
    Tensor kept = cast_if_exact(t, source_);
    widened_ |= kept.dtype() != source_;
    return kept;
  }
  std::size_t bias_bytes(const Linear& l) const {
    return l.bias() ? cast_if_exact(values(*l.bias()), source_).bytes() : 0;
  }
  void put_bias(const Linear& l, NamedTensors& tensors) {
    if (l.bias()) tensors.emplace_back(full_name(l.name()) + ".bias", floats(values(*l.bias())));
  }
  void put_floats(const Linear& l) {
    const Tensor w = l.dense();
    NamedTensors tensors = {{full_name(l.name()) + ".weight", floats(w)}};
    if (options_.dtype) note_error(l, relative_error(cast(tensors[0].second, DType::f32), w));
    put_bias(l, tensors);
    out_.put(std::move(tensors));
  }
  void put_grid(const Linear& l) {
    const auto w = from_packed(l.frozen()->pack());
    const bool gptq = options_.format == ExportFormat::gptq;
    NamedTensors tensors =
        gptq ? gptq_tensors(full_name(l.name()), *w, version_) : compressed_tensors(full_name(l.name()), *w);
    if (gptq)
      note_error(l, relative_error(cast(cast(cast(w->scale, DType::f32), DType::f16), DType::f32),
                                   cast(w->scale, DType::f32)));
    put_bias(l, tensors);
    out_.put(std::move(tensors));
  }
  void note_error(const Linear& l, double error) {
    if (error > report_.error) report_.error = error, report_.worst = l.name();
  }

  CausalLM& model_;
  ExportOptions options_;
  std::vector<GridFacts> facts_;
  ShardWriter out_;
  DType source_;
  int version_ = 1;
  bool widened_ = false;
  std::vector<std::string> others_;
  ExportReport report_;
};

}  // namespace

GridFacts grid_facts(const Linear& l) {
  GridFacts f{l.name(), l.out_features(), l.in_features()};
  const Packed p = l.frozen()->pack();
  f.sparse = p.parts.contains("mask");
  f.on_grid = p.parts.contains("scale");
  if (!f.on_grid) return f;
  f.bits = int(p.fields.at("bits"));
  const std::int64_t group = p.fields.at("group");
  f.group = group < f.in ? group : -1;
  f.act_order = f.group > 0 && (p.parts.contains("order") || p.parts.contains("group_of"));
  f.symmetric = true;
  for (const unsigned z : p.parts.at("zero").data<std::uint8_t>()) f.symmetric &= z == 1u << (f.bits - 1);
  const Tensor& scale = p.parts.at("scale");
  f.half_scales = cast_if_exact(scale, DType::f16).dtype() == DType::f16;
  f.scales_round_to_half = true;
  const Scales s(scale);
  for (std::int64_t i = 0; i < scale.numel(); ++i) {
    const float half = to_float(to_f16(s[i]));
    f.scales_round_to_half &= std::isfinite(half) && (half != 0 || s[i] == 0);
  }
  return f;
}

std::vector<GridFacts> grid_facts(CausalLM& model) {
  std::vector<GridFacts> all;
  model.each_linear([&](Linear& l) { all.push_back(grid_facts(l)); });
  return all;
}

std::string export_obstacle(const std::vector<GridFacts>& linears, ExportFormat format) {
  if (format == ExportFormat::dense) return {};
  bool any = false;
  for (const auto& f : linears) any |= f.on_grid;
  if (!any)
    return "no linear of the model holds integer codes: sinter compress MODEL --method gptq --bits 4 --group-size 128 "
           "--sym --calibration TEXT --out OUT makes them, --to dense needs none";
  for (const auto& f : linears) {
    if (!f.on_grid) continue;
    if (format == ExportFormat::compressed_tensors) {
      if (f.group > 0 && f.in % f.group != 0)
        return f.name + " has rows of " + std::to_string(f.in) + " weights, which is no whole number of groups of " +
               std::to_string(f.group) + ", as compressed-tensors needs it; --to gptq does not";
      if (!f.act_order) continue;
      return f.name + " has its groups in act-order, which compressed-tensors dropped; --to gptq keeps it, and " +
             "--static-groups or no --act-order avoids it";
    }
    const std::string shape = std::to_string(f.out) + " x " + std::to_string(f.in);
    if (!fits_gptq(f.out, f.in))
      return f.name + " is " + shape + ", but GPTQ needs multiples of 32; --to compressed-tensors takes any shape";
    if (!f.scales_round_to_half)
      return f.name + " has scales beyond the range of f16, which GPTQ needs; --to compressed-tensors keeps f32";
  }
  return {};
}

ExportReport export_hf(CausalLM& model, const fs::path& from, const fs::path& to, const ExportOptions& options,
                       LogSink& log) {
  Export e(model, to, options);
  e.write(log);
  const Json changes = e.config_changes();
  copy_model_files(from, to, changes);
  if (options.format == ExportFormat::gptq)
    write_text_atomic(to / "quantize_config.json", json_text(changes["quantization_config"]));
  if (fs::exists(from / "compression.json"))
    write_text_atomic(to / "compression.json", read_text(from / "compression.json"));
  return e.take();
}

}  // namespace sinter
