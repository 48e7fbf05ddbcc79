#include "apps/fresh_model.h"

#include <nlohmann/json.hpp>

namespace sinter {
namespace {

bool given(const Json& config, const char* key) { return config.contains(key) && !config.at(key).is_null(); }

// Values are copied before a new key moves the others.
void add_rope_keys(Json& config) {
  if (!given(config, "rope_parameters")) {
    Json scaling = given(config, "rope_scaling") ? config["rope_scaling"] : Json{{"rope_type", "default"}};
    if (!scaling.contains("rope_type") && scaling.contains("type")) scaling["rope_type"] = Json(scaling["type"]);
    scaling["rope_theta"] = given(config, "rope_theta") ? config["rope_theta"] : Json(10000.0);
    config["rope_parameters"] = scaling;
  }
  const Json parameters = config["rope_parameters"];
  const auto theta = parameters.find("rope_theta");
  if (!given(config, "rope_theta")) config["rope_theta"] = theta == parameters.end() ? Json(10000.0) : *theta;
  const auto kind = parameters.find("rope_type");
  if (!config.contains("rope_scaling"))
    config["rope_scaling"] = kind == parameters.end() || *kind == "default" ? Json(nullptr) : parameters;
}

}  // namespace

void complete_config(Json& config, bool llama, bool bf16) {
  const char* const type = bf16 ? "bfloat16" : "float32";
  config["architectures"] = Json::array({llama ? "LlamaForCausalLM" : "OPTForCausalLM"});
  config["torch_dtype"] = type;
  config["dtype"] = type;
  if (llama) add_rope_keys(config);
}

}  // namespace sinter
