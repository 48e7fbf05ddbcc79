#include "train/adapt.h"

#include <regex>

namespace sinter {

std::vector<Linear*> adapter_targets(CausalLM& model, const AdapterPlan& plan) {
  const std::string& pattern = plan.targets;
  std::regex expression;
  try {
    expression = std::regex(pattern);
  } catch (const std::regex_error&) {
    fail(ErrorCode::usage, "--targets", "\"", pattern, "\" is no regular expression");
  }
  std::vector<Linear*> found;
  model.each_linear([&](Linear& l) {
    if (pattern.empty() || std::regex_search(l.name(), expression)) found.push_back(&l);
  });
  require(!found.empty(), ErrorCode::usage, "--targets", "\"", pattern, "\" matches no linear");
  return found;
}

std::int64_t adapter_parameters(CausalLM& model, const AdapterPlan& plan) {
  const bool spp = plan.kind == AdapterPlan::Kind::spp;
  std::int64_t total = 0;
  for (const Linear* l : adapter_targets(model, plan)) {
    const std::int64_t m = l->out_features(), n = l->in_features(), r = plan.rank;
    require(r >= 1 && (!spp || m % r == 0), ErrorCode::usage, l->name(), "rank ", r, " does not divide the ", m,
            " rows of the weight");
    total += spp ? m + r * n : r * (m + n);
  }
  return total;
}

void attach_adapters(CausalLM& model, const AdapterPlan& plan, std::uint64_t seed) {
  const bool spp = plan.kind == AdapterPlan::Kind::spp;
  const AdapterOptions o{plan.rank, plan.scale, plan.dropout};
  const auto linears = adapter_targets(model, plan);
  std::vector<std::unique_ptr<Adapter>> made;
  for (const Linear* l : linears) {
    const Rng own = Rng{seed, 0x61646170}.fork(made.size());
    made.push_back((spp ? make_spp_adapter : make_lora_adapter)(l->name(), *l->frozen(), o, own));
  }
  for (std::size_t i = 0; i < linears.size(); ++i) linears[i]->attach(std::move(made[i]));
}

AdapterTask::AdapterTask(CausalLM& model) {
  model.each_linear([&](Linear& l) {
    if (l.adapter()) l.each_param([&](Param& p) { params_.push_back(&p); });
  });
}

}  // namespace sinter
