#pragma once
#include <algorithm>
#include <array>
#include <concepts>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>
#include "core/param.h"

namespace sinter {

class Tape;

// A value flowing through ops; tracked iff some Param feeds it. A tracked Var
// must not outlive its tape.
class Var {
 public:
  Var() = default;
  Var(Tensor value) : value_(std::move(value)) {}  // a constant
  const Tensor& value() const { return value_; }
  const Shape& shape() const { return value_.shape(); }
  bool tracked() const { return tape_ != nullptr; }

 private:
  friend class Tape;
  Var(Tensor v, Tape* t, std::uint32_t slot) : value_(std::move(v)), tape_(t), slot_(slot) {}
  Tensor value_;
  Tape* tape_ = nullptr;
  std::uint32_t slot_ = 0;
};

template <std::size_t N>
using Needs = std::array<bool, N>;
template <std::size_t N>
using Cotangents = std::array<Tensor, N>;  // empty where not needed

// An op with several outputs says so beside its arity; the default is one.
template <class Op>
inline constexpr std::size_t outputs_of = 1;
template <class Op>
requires requires { Op::outputs; }
inline constexpr std::size_t outputs_of<Op> = Op::outputs;
template <class T, std::size_t N>
using OneOrMany = std::conditional_t<N == 1, T, std::array<T, N>>;

// An op's differentiable face: its arity is part of its type, so an operand
// that must never receive a gradient simply is not among the N inputs. With
// several outputs a dy is empty where no cotangent arrived.
template <class Op>
concept Differentiable = requires(const typename Op::Saved& s, const OneOrMany<Tensor, outputs_of<Op>>& dy,
                                  Needs<Op::arity> n) {
  {std::string_view(Op::name)};
  { Op::vjp(s, dy, n) } -> std::same_as<Cotangents<Op::arity>>;
};

class Pullback {
 public:
  virtual ~Pullback() = default;
  // Sets dx[i] only where needs[i]; checkpoint also adds to `params`.
  virtual void run(std::span<Tensor> dy, std::span<const bool> needs, std::span<Tensor> dx, Grads& params) = 0;
};

// What checkpoint runs: now without recording, and again during backward.
using Segment = std::function<Var(Tape*, std::span<const Var>)>;

class Tape {
 public:
  Tape() = default;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  Var leaf(const Param& p);
  void node(std::string_view op, std::span<const Var> in, std::span<Var> out,
            std::unique_ptr<Pullback>);  // makes `out` tracked
  static Tape* of(std::span<const Var> in);  // of the first tracked one

  // Consumes the tape: each node's saved tensors are freed as soon as used.
  Grads backward(const Var& out, Tensor seed) &&;
  std::size_t size() const { return nodes_.size(); }

 private:
  friend Var checkpoint(Tape*, Segment, std::span<const Var>);
  enum class State { recording, probing, spent };  // probing: notes the Params it meets, records nothing
  struct Node {
    std::string_view op;
    std::vector<std::int64_t> inputs;  // slots; -1: constant
    std::uint32_t first, outputs;  // its slots
    std::unique_ptr<Pullback> pullback;  // null: a Param or an input
    const Param* param;
  };
  struct Replay;
  static void require_same(std::string_view op, std::span<const Var> in, const Tape*);
  Var input(Tensor x);
  std::uint32_t push(Node n);
  std::vector<Tensor> unwind(const Var& out, Tensor seed, Grads& params);  // cotangent of each input's slot
  void pull(Node&, std::vector<Tensor>& d, Grads& params);

  std::vector<Node> nodes_;  // execution order: its reverse is the backward order
  std::uint32_t slots_ = 0;  // one per output of a node
  std::unordered_map<const Param*, std::uint32_t> leaves_;
  State state_ = State::recording;
};

template <Differentiable Op>
class OpPullback final : public Pullback {
 public:
  explicit OpPullback(typename Op::Saved s) : saved_(std::move(s)) {}
  void run(std::span<Tensor> dy, std::span<const bool> needs, std::span<Tensor> dx, Grads&) override {
    Needs<Op::arity> n;
    std::ranges::copy(needs, n.begin());
    if constexpr (outputs_of<Op> == 1) {
      std::ranges::move(Op::vjp(saved_, dy[0], n), dx.begin());
    } else {
      std::array<Tensor, outputs_of<Op>> all;
      std::ranges::move(dy, all.begin());
      std::ranges::move(Op::vjp(saved_, all, n), dx.begin());
    }
  }

 private:
  typename Op::Saved saved_;
};

// No tracked input: the result is a constant and `saved` is dropped.
template <Differentiable Op>
OneOrMany<Var, outputs_of<Op>> record(const std::array<Var, Op::arity>& in, OneOrMany<Tensor, outputs_of<Op>> out,
                                      typename Op::Saved saved) {
  std::array<Var, outputs_of<Op>> y;
  if constexpr (outputs_of<Op> == 1) y[0] = std::move(out);
  else std::ranges::move(out, y.begin());
  if (Tape* tape = Tape::of(in)) tape->node(Op::name, in, y, std::make_unique<OpPullback<Op>>(std::move(saved)));
  if constexpr (outputs_of<Op> == 1) return y[0];
  else return y;
}

// Keeps only the inputs and runs the segment again during backward. Every
// tracked Var it uses is passed in: meeting another is an error.
Var checkpoint(Tape*, Segment, std::span<const Var> inputs);

}  // namespace sinter
