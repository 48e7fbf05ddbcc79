#include "core/tape.h"

namespace sinter {

std::uint32_t Tape::push(Node n) {
  require(state_ == State::recording, ErrorCode::tape, n.op, "this tape was consumed by backward");
  n.first = slots_;
  slots_ += n.outputs;
  nodes_.push_back(std::move(n));
  return nodes_.back().first;
}

Var Tape::leaf(const Param& p) {
  if (state_ == State::probing) {
    leaves_.emplace(&p, 0);
    return Var(p.value());
  }
  if (auto it = leaves_.find(&p); it != leaves_.end()) return Var(p.value(), this, it->second);
  const auto slot = push({"param", {}, 0, 1, nullptr, &p});
  leaves_.emplace(&p, slot);
  return Var(p.value(), this, slot);
}

Var Tape::input(Tensor x) { return Var(std::move(x), this, push({"input", {}, 0, 1, nullptr, nullptr})); }

Tape* Tape::of(std::span<const Var> in) {
  for (const Var& v : in)
    if (v.tape_) return v.tape_;
  return nullptr;
}

void Tape::require_same(std::string_view op, std::span<const Var> in, const Tape* tape) {
  for (const Var& v : in) require(!v.tape_ || v.tape_ == tape, ErrorCode::tape, op, "an input belongs to another tape");
}

void Tape::node(std::string_view op, std::span<const Var> in, std::span<Var> out, std::unique_ptr<Pullback> pullback) {
  Node n{op, {}, 0, std::uint32_t(out.size()), std::move(pullback), nullptr};
  require_same(op, in, this);
  for (const Var& v : in) n.inputs.push_back(v.tape_ ? std::int64_t(v.slot_) : -1);
  std::uint32_t slot = push(std::move(n));
  for (Var& v : out) {
    v.tape_ = this;
    v.slot_ = slot++;
  }
}

Grads Tape::backward(const Var& out, Tensor seed) && {
  Grads params;
  unwind(out, std::move(seed), params);
  return params;
}

std::vector<Tensor> Tape::unwind(const Var& out, Tensor seed, Grads& params) {
  require(out.tape_ == this, ErrorCode::tape, "backward",
          out.tape_ ? "the Var is of another tape" : "the Var is a constant");
  require(state_ == State::recording, ErrorCode::tape, "backward", "this tape was consumed already");
  require(seed.shape() == out.shape(), ErrorCode::shape, "backward", "seed ", seed.shape(), " for a value ",
          out.shape());
  require(seed.dtype() == out.value().dtype(), ErrorCode::dtype, "backward", "seed ", info(seed.dtype()).name,
          " for a value ", info(out.value().dtype()).name);
  state_ = State::spent;
  std::vector<Tensor> d(slots_);
  d[out.slot_] = std::move(seed);
  for (; !nodes_.empty(); nodes_.pop_back()) {
    Node& n = nodes_.back();
    if (n.param && d[n.first]) params.add(*n.param, std::move(d[n.first]));
    if (n.pullback) pull(n, d, params);
  }
  return d;
}

void Tape::pull(Node& n, std::vector<Tensor>& d, Grads& params) {
  const std::span dy(d.data() + n.first, n.outputs);
  if (std::ranges::none_of(dy, [](const Tensor& t) { return bool(t); })) return;
  const auto arity = n.inputs.size();
  const auto needs = std::make_unique<bool[]>(arity);
  std::vector<Tensor> dx(arity);
  for (std::size_t i = 0; i < arity; ++i) needs[i] = n.inputs[i] >= 0;
  n.pullback->run(dy, {needs.get(), arity}, dx, params);
  for (std::size_t i = 0; i < arity; ++i)
    if (needs[i] && dx[i]) Grads::sum_into(d[n.inputs[i]], std::move(dx[i]));
  std::ranges::fill(dy, Tensor());
}

struct Tape::Replay final : Pullback {
  Replay(Segment f, std::span<const Var> in) : segment(std::move(f)) {
    for (const Var& v : in) x.push_back(v.value());
  }
  void run(std::span<Tensor> dy, std::span<const bool> needs, std::span<Tensor> dx, Grads& params) override {
    Tape inner;
    std::vector<Var> in;
    for (std::size_t i = 0; i < x.size(); ++i) in.push_back(needs[i] ? inner.input(x[i]) : Var(x[i]));
    const Var out = segment(&inner, in);
    if (!out.tracked()) return;  // it does not depend on what is tracked
    auto d = inner.unwind(out, dy[0], params);
    for (std::size_t i = 0; i < x.size(); ++i)
      if (needs[i]) dx[i] = std::move(d[in[i].slot_]);
  }
  Segment segment;
  std::vector<Tensor> x;
};

Var checkpoint(Tape* tape, Segment segment, std::span<const Var> inputs) {
  Tape::require_same("checkpoint", inputs, tape);
  std::vector<Var> constants;
  for (const Var& v : inputs) constants.push_back(v.value());
  if (!tape || tape->state_ == Tape::State::probing) return segment(tape, constants);
  Tape probe;
  probe.state_ = Tape::State::probing;
  const auto recorded = tape->size();
  Var y = segment(&probe, constants);
  require(!y.tracked() && tape->size() == recorded, ErrorCode::tape, "checkpoint",
          "the segment uses a tracked Var that was not passed in");
  if (Tape::of(inputs) || !probe.leaves_.empty())
    tape->node("checkpoint", inputs, {&y, 1}, std::make_unique<Tape::Replay>(std::move(segment), inputs));
  return y;
}

}  // namespace sinter
