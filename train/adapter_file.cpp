#include "train/adapter_file.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "models/tensor_store.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "base_model.model.";  // PEFT's, before the names of LoRA tensors

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

// A linear's name in transformers' model. Old conversions of OPT leave "model." out in the file.
std::string module_name(const Linear& l) { return (l.name().starts_with("decoder.") ? "model." : "") + l.name(); }

// The last parts of the names of all linears with an adapter, as PEFT's target_modules; whole names where a last part
// would also match a linear without one.
std::set<std::string> target_modules(CausalLM& model) {
  std::set<std::string> whole, last, without;
  model.each_linear([&](const Linear& l) {
    (l.adapter() ? last : without).insert(last_part(l.name()));
    if (l.adapter()) whole.insert(module_name(l));
  });
  const bool clear = std::ranges::none_of(last, [&](const std::string& name) { return without.contains(name); });
  return clear ? last : whole;
}

// A whole number without a fraction, as PEFT types lora_alpha.
Json plain_number(double x) { return x == std::floor(x) && std::abs(x) < 1e9 ? Json(std::int64_t(x)) : Json(x); }

Json lora_config(const AdapterPlan& plan, const std::set<std::string>& targets, const std::string& base) {
  const double r = double(plan.rank), alpha = plan.alpha.value_or(plan.scale * (plan.rslora ? std::sqrt(r) : r));
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base},
          {"r", plan.rank},
          {"lora_alpha", plain_number(alpha)},
          {"lora_dropout", plan.dropout},
          {"bias", "none"},
          {"target_modules", targets},
          {"fan_in_fan_out", false},
          {"modules_to_save", nullptr},
          {"use_rslora", plan.rslora},
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

// lora_alpha of a linear. The keys of alpha_pattern are regular expressions for ends of module names; read here are names
// and ends of names, with a ^ in front for a whole one.
double alpha_of(const JsonFields& config, const std::string& module) {
  const Json* patterns = config.find("alpha_pattern");
  if (!patterns || patterns->empty()) return config.number_or("lora_alpha", 8);
  if (!patterns->is_object()) config.refuse("alpha_pattern", "an object");
  for (const auto& [key, value] : patterns->items()) {
    const bool whole = key.starts_with('^');
    std::string plain;
    for (const char c : std::string_view(key).substr(whole))
      if (c != '\\') plain += c;
    if (plain.find_first_of("^$*+?()[]{}|") != std::string::npos || !value.is_number())
      config.refuse("alpha_pattern", "names or ends of names of modules, with numbers");
    if (module == plain || (!whole && module.ends_with("." + plain))) return value.get<double>();
  }
  return config.number_or("lora_alpha", 8);
}

// What PEFT may add to LoRA and Sinter does not compute. layers_to_transform, rank_pattern and target_modules need no
// reading: the file's tensors say which linears have an adapter and of which rank.
void refuse_variants(const JsonFields& config) {
  constexpr const char* kVariants[] = {
      "use_dora",          "fan_in_fan_out",          "modules_to_save",         "lora_bias",   "use_qalora",
      "use_bdlora",        "alora_invocation_tokens", "trainable_token_indices", "kasa_config", "arrow_config",
      "monteclora_config", "target_parameters",       "layer_replication"};
  for (const char* key : kVariants) {
    const Json* v = config.find(key);
    if (v && (v->is_boolean() ? v->get<bool>() : !v->empty())) config.refuse(key, "false or nothing (plain LoRA)");
  }
  if (config.text_or("bias", "none") != "none") config.refuse("bias", "\"none\"");
  // PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA change the base weights at the start; their adapters are no corrections of
  // the model that they name.
  const Json* start = config.find("init_lora_weights");
  if (!start || start->is_boolean()) return;
  const std::string kind = config.text("init_lora_weights");
  if (kind != "gaussian" && kind != "orthogonal" && kind != "eva" && kind != "mica")
    config.refuse("init_lora_weights", "true, false, gaussian, orthogonal, eva or mica");
}

class Reader {
 public:
  Reader(const fs::path& dir, const Json& json)
      : file_(tensors_in(dir)),
        from_(file_.extension() == ".bin" ? open_bin(file_) : open_safetensors(file_)),
        config_((dir / "adapter_config.json").string(), json),
        kind_(config_.text("peft_type")) {
    if (kind_ != "LORA" && kind_ != "SPP") config_.refuse("peft_type", "LORA or SPP");
    if (kind_ == "LORA") refuse_variants(config_);
  }

  void attach_to(CausalLM& model) {
    std::vector<std::pair<Linear*, std::unique_ptr<Adapter>>> made;
    model.each_linear([&](Linear& l) {
      if (auto adapter = kind_ == "SPP" ? spp(l) : lora(l)) made.emplace_back(&l, std::move(adapter));
    });
    for (const auto& name : from_->names())
      require(used_.contains(name), ErrorCode::input, file_.string(), "tensor ", name,
              " belongs to no linear of the model");
    require(!made.empty(), ErrorCode::input, file_.string(), "holds no tensors");
    for (auto& [linear, adapter] : made) linear->attach(std::move(adapter));
  }

 private:
  static fs::path tensors_in(const fs::path& dir) {
    for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"})
      if (fs::exists(dir / name)) return dir / name;
    fail(ErrorCode::input, dir.string(), "holds no adapter_model.safetensors or adapter_model.bin");
  }

  // The tensor under one of the names that versions of PEFT gave it, or nothing.
  Tensor find(const Linear& l, const char* part) {
    for (const char* prefix : {kPrefix, ""})
      for (const auto& module : {module_name(l), l.name()})
        for (const char* adapter : {".weight", ".default.weight"}) {
          const std::string name = prefix + module + "." + part + adapter;
          if (from_->has(name)) return take(name);
        }
    return {};
  }
  Tensor take(const std::string& name) {
    used_.insert(name);
    const Tensor t = from_->tensor(name);
    require(is_float(t.dtype()), ErrorCode::input, file_.string(), "tensor ", name, " has type ", info(t.dtype()).name,
            ", a float type is needed");
    return cast(t, DType::f32);
  }
  void check_shape(const Linear& l, const char* what, const Tensor& t, Shape expected) const {
    require(t.shape() == expected, ErrorCode::input, file_.string(), what, " of ", l.name(), " has shape ", t.shape(),
            ", the model needs ", expected);
  }
  // The rank that the first factor, [r, in], has.
  std::int64_t rank_of(const Linear& l, const char* what, const Tensor& t) const {
    require(t.shape().rank() == 2 && t.shape()[0] > 0, ErrorCode::input, file_.string(), what, " of ", l.name(),
            " has shape ", t.shape(), ", expected [rank, in]");
    check_shape(l, what, t, {t.shape()[0], l.in_features()});
    return t.shape()[0];
  }

  std::unique_ptr<Adapter> lora(const Linear& l) {
    const Tensor a = find(l, "lora_A"), b = find(l, "lora_B");
    if (!a && !b) return nullptr;
    require(a && b, ErrorCode::input, file_.string(), l.name(), " needs both lora_A [r, in] and lora_B [out, r]");
    const std::int64_t r = rank_of(l, "lora_A", a);
    check_shape(l, "lora_B", b, {l.out_features(), r});
    const Json* ranks = config_.find("rank_pattern");
    if (config_.has("r") && (!ranks || ranks->empty()) && config_.integer("r", 1) != r)
      config_.refuse("r", std::to_string(r) + ", as many as lora_A of " + l.name() + " has rows");
    const double alpha = alpha_of(config_, module_name(l));
    const double scale = alpha / (config_.boolean_or("use_rslora", false) ? std::sqrt(double(r)) : double(r));
    return filled(make_lora_adapter(l.name(), *l.frozen(), {r, scale, 0}, Rng{}), {a, b});
  }

  std::unique_ptr<Adapter> spp(const Linear& l) {
    const std::string alpha = l.name() + ".spp_alpha", beta = l.name() + ".spp_beta";
    if (!from_->has(alpha) && !from_->has(beta)) return nullptr;
    const Tensor a = take(alpha), b = take(beta);
    const std::int64_t r = rank_of(l, "spp_alpha", a);
    check_shape(l, "spp_beta", b, {l.out_features()});
    require(l.out_features() % r == 0, ErrorCode::input, file_.string(), "tensor ", alpha, " has ", r,
            " rows, which does not divide the ", l.out_features(), " of the weight");
    return filled(make_spp_adapter(l.name(), *l.frozen(), {r, config_.number("scale"), 0}, Rng{}), {a, b});
  }

  static std::unique_ptr<Adapter> filled(std::unique_ptr<Adapter> adapter, std::vector<Tensor> values) {
    std::size_t k = 0;
    adapter->each_param([&](Param& p) { p.assign(values[k++].clone()); });
    return adapter;
  }

  fs::path file_;
  std::unique_ptr<TensorStore> from_;
  JsonFields config_;
  std::string kind_;
  std::set<std::string> used_;
};

}  // namespace

void save_adapter(const fs::path& path, CausalLM& model, const AdapterPlan& plan, const AdapterFacts& facts) {
  const bool lora = plan.kind == AdapterPlan::Kind::lora;
  NamedTensors tensors;
  model.each_linear([&](Linear& l) {
    if (!l.adapter()) return;
    const std::string at = lora ? kPrefix + module_name(l) : l.name();
    l.each_param([&](Param& p) { tensors.emplace_back(at + p.name().substr(l.name().size()), p.value()); });
  });
  std::map<std::string, std::string> meta{{"format", "pt"}};
  for (const auto& [key, value] : facts.extra) meta["sinter." + key] = value;
  AtomicDirectory dir(path);
  write_tensors(dir.path() / "adapter_model.safetensors", tensors, meta);
  const Json config = (lora ? lora_config : spp_config)(plan, target_modules(model), facts.base_model);
  write_text_atomic(dir.path() / "adapter_config.json", json_text(config));
  dir.commit();
}

void load_adapter(const fs::path& dir, CausalLM& model) {
  const Json json = read_json(dir / "adapter_config.json");
  Reader(dir, json).attach_to(model);
}

}  // namespace sinter
