#include "train/full.h"

namespace sinter {

FullTask::FullTask(CausalLM& model, bool keep_zeros) {
  model.each_param([this](Param& p) { params_.push_back(&p); });
  if (!keep_zeros) return;
  model.each_linear([this](Linear& l) {
    l.each_param([this](Param& p) {
      if (p.value().shape().rank() != 2) return;
      Masked m{&p, {}};
      for (const float v : p.value().data<float>()) m.kept.push_back(v != 0);
      masked_.push_back(std::move(m));
    });
  });
}

void FullTask::after_update() {
  for (const Masked& m : masked_) {
    Tensor w = m.weight->value().clone();
    const auto values = w.mutable_data<float>();
    for (std::size_t i = 0; i < values.size(); ++i)
      if (!m.kept[i]) values[i] = 0;
    m.weight->assign(std::move(w));
  }
}

}  // namespace sinter
