#include "train/adapter_file.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/basic_kernels.h"
#include "core/file.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "base_model.model.";  // PEFT's, before the names of LoRA tensors
constexpr std::int64_t kMaxRank = std::int64_t{1} << 20;

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

Json lora_config(const AdapterPlan& plan, const std::set<std::string>& targets, const std::string& base) {
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base},
          {"r", plan.rank},
          {"lora_alpha", plan.scale * double(plan.rank)},
          {"lora_dropout", plan.dropout},
          {"bias", "none"},
          {"target_modules", targets},
          {"fan_in_fan_out", false},
          {"modules_to_save", nullptr},
          {"use_rslora", false},
          {"use_dora", false},
          {"layers_to_transform", nullptr},
          {"layers_pattern", nullptr},
          {"rank_pattern", Json::object()},
          {"alpha_pattern", Json::object()},
          {"init_lora_weights", true},
          {"inference_mode", true}};
}

Json spp_config(const AdapterPlan& plan, const std::set<std::string>& targets, const std::string& base) {
  return {{"peft_type", "SPP"},  {"base_model_name_or_path", base}, {"r", plan.rank},
          {"scale", plan.scale}, {"dropout", plan.dropout},         {"target_modules", targets}};
}

// lora_alpha of a linear: alpha_pattern's keys are ends of its name.
double alpha_of(const JsonFields& config, const std::string& linear) {
  if (const Json* patterns = config.find("alpha_pattern"); patterns && patterns->is_object())
    for (const auto& [key, value] : patterns->items()) {
      std::string plain;
      for (const char c : key)
        if (c != '\\') plain += c;
      if (plain.find_first_of("^$*+?()[]{}|") != std::string::npos || !value.is_number())
        config.refuse("alpha_pattern", "ends of module names with numbers");
      if (linear == plain || linear.ends_with("." + plain)) return value.get<double>();
    }
  return config.number_or("lora_alpha", 8);
}

class Reader {
 public:
  Reader(const fs::path& dir, const Json& json)
      : file_(dir / "adapter_model.safetensors"),
        from_(file_),
        config_((dir / "adapter_config.json").string(), json),
        kind_(config_.text("peft_type")) {
    if (kind_ != "LORA" && kind_ != "SPP") config_.refuse("peft_type", "LORA or SPP");
    if (kind_ == "LORA") refuse_variants();
  }

  void attach_to(CausalLM& model) {
    model.each_linear([&](Linear& l) { kind_ == "SPP" ? spp(l) : lora(l); });
    for (const auto& name : from_.names())
      require(used_.contains(name), ErrorCode::input, file_.string(), "tensor ", name,
              " belongs to no linear of the model");
    require(!used_.empty(), ErrorCode::input, file_.string(), "holds no tensors");
  }

 private:
  void refuse_variants() const {
    if (config_.boolean_or("use_dora", false)) config_.refuse("use_dora", "false");
    if (config_.boolean_or("fan_in_fan_out", false)) config_.refuse("fan_in_fan_out", "false");
    if (config_.text_or("bias", "none") != "none") config_.refuse("bias", "\"none\"");
    if (const Json* saved = config_.find("modules_to_save"); saved && !saved->empty())
      config_.refuse("modules_to_save", "null");
  }

  // The tensor under one of the names that versions of PEFT gave it, or nothing.
  Tensor find(const std::string& linear, const char* part) {
    for (const char* prefix : {kPrefix, ""})
      for (const char* adapter : {".weight", ".default.weight"}) {
        const std::string name = prefix + linear + "." + part + adapter;
        if (from_.has(name)) return take(name);
      }
    return {};
  }
  Tensor take(const std::string& name) {
    used_.insert(name);
    const Tensor t = from_.tensor(name);
    require(is_float(t.dtype()), ErrorCode::input, file_.string(), "tensor ", name, " has type ", info(t.dtype()).name,
            ", a float type is needed");
    return cast(t, DType::f32);
  }

  void lora(Linear& l) {
    const Tensor a = find(l.name(), "lora_A"), b = find(l.name(), "lora_B");
    if (!a && !b) return;
    require(a && b && a.shape().rank() == 2 && a.shape()[0] > 0, ErrorCode::input, file_.string(), l.name(),
            " needs lora_A [r, in] and lora_B [out, r]");
    const std::int64_t r = a.shape()[0];
    const double alpha = alpha_of(config_, l.name());
    const double scale = alpha / (config_.boolean_or("use_rslora", false) ? std::sqrt(double(r)) : double(r));
    attach(l, make_lora_adapter(l.name(), *l.frozen(), {r, scale, 0}, Rng{}), {a, b});
  }

  void spp(Linear& l) {
    const std::string alpha = l.name() + ".spp_alpha", beta = l.name() + ".spp_beta";
    if (!from_.has(alpha) && !from_.has(beta)) return;
    const Tensor a = take(alpha), b = take(beta);
    require(a.shape().rank() == 2 && a.shape()[0] > 0 && a.shape()[0] <= kMaxRank, ErrorCode::input, file_.string(),
            "tensor ", alpha, " has shape ", a.shape(), ", expected [rank, in]");
    require(l.out_features() % a.shape()[0] == 0, ErrorCode::input, file_.string(), "tensor ", alpha, " has ",
            a.shape()[0], " rows, which does not divide the ", l.out_features(), " of the weight");
    attach(l, make_spp_adapter(l.name(), *l.frozen(), {a.shape()[0], config_.number("scale"), 0}, Rng{}), {a, b});
  }

  void attach(Linear& l, std::unique_ptr<Adapter> adapter, std::vector<Tensor> values) {
    std::size_t k = 0;
    adapter->each_param([&](Param& p) {
      const Tensor& v = values[k++];
      require(v.shape() == p.value().shape(), ErrorCode::input, file_.string(), "tensor of ", p.name(), " has shape ",
              v.shape(), ", the model needs ", p.value().shape());
      p.assign(v.clone());
    });
    l.attach(std::move(adapter));
  }

  fs::path file_;
  TensorFile from_;
  JsonFields config_;
  std::string kind_;
  std::set<std::string> used_;
};

}  // namespace

void save_adapter(const fs::path& path, CausalLM& model, const AdapterPlan& plan, const AdapterFacts& facts) {
  const bool lora = plan.kind == AdapterPlan::Kind::lora;
  NamedTensors tensors;
  std::set<std::string> targets;
  model.each_linear([&](Linear& l) {
    if (!l.adapter()) return;
    targets.insert(last_part(l.name()));
    l.each_param([&](Param& p) { tensors.emplace_back((lora ? kPrefix : "") + p.name(), p.value()); });
  });
  std::map<std::string, std::string> meta{{"format", "pt"}};
  for (const auto& [key, value] : facts.extra) meta["sinter." + key] = value;
  AtomicDirectory dir(path);
  write_tensors(dir.path() / "adapter_model.safetensors", tensors, meta);
  const Json config = (lora ? lora_config : spp_config)(plan, targets, facts.base_model);
  write_text_atomic(dir.path() / "adapter_config.json", json_text(config));
  dir.commit();
}

void load_adapter(const fs::path& dir, CausalLM& model) {
  const Json json = read_json(dir / "adapter_config.json");
  Reader(dir, json).attach_to(model);
}

}  // namespace sinter
