#pragma once
#include <memory>
#include <string>

#include "apps/cli.h"
#include "core/log.h"
#include "models/causal_lm.h"

namespace sinter {

// MODEL and what was learned to go with it, for the sub-commands that run a model.
struct HealedModel {
  std::string model, soft_prompt, hard_prompt, adapter;

  void declare(Flags&);
  struct Loaded {
    std::unique_ptr<CausalLM> model;  // with its adapter
    Tensor prompt;  // [k, w] before every sequence: the soft prompt, or the embeddings of the hard one; or empty
  };
  Loaded load(LogSink&) const;
};

}  // namespace sinter
