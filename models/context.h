#pragma once
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "core/match.h"
#include "core/random.h"
#include "core/tape.h"
#include "ops/frozen_weight.h"

namespace sinter {

class Linear;

// Sees the input and the output of every Linear during a forward pass (calibration).
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_linear(const Linear& which, const Tensor& x, const Tensor& y) = 0;
};

// A norm, a bias, a table of positions: trainable or not by its type. Loading yields Tensors; thaw makes a Param.
using Weight = std::variant<Tensor, std::unique_ptr<Param>>;
// A matrix of a product or of an embedding: trainable, or frozen in some storage format.
using Matrix = std::variant<std::unique_ptr<Param>, FrozenWeightPtr>;
using EachParam = std::function<void(Param&)>;

// Everything a forward pass may depend on besides its inputs. No globals.
struct Context {
  Tape* tape = nullptr;  // null: nothing is recorded, nothing is saved
  Observer* observer = nullptr;  // null: nothing is captured
  Rng rng{};
  Compute compute = Compute::f32;
  bool checkpoint = false;  // keep one hidden state per block, run each block again during backward

  Var use(const Param& p) const { return tape ? tape->leaf(p) : Var(p.value()); }
  Var use(const Weight& w) const {
    return std::visit(
        Match{[](const Tensor& t) { return Var(t); }, [this](const std::unique_ptr<Param>& p) { return use(*p); }}, w);
  }
};

}  // namespace sinter
