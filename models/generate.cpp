#include "models/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "ops/concat.h"

namespace sinter {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Holds back what may be the beginning of a stop string.
class StopFilter {
 public:
  explicit StopFilter(const std::vector<std::string>& stops) : stops_(stops) {}
  bool stopped() const { return stopped_; }

  std::string push(std::string_view text) {
    held_ += text;
    std::size_t cut = std::string::npos;
    for (const auto& s : stops_)
      if (!s.empty()) cut = std::min(cut, held_.find(s));
    if (cut != std::string::npos) {
      stopped_ = true;
      held_.resize(cut);
      return flush();
    }
    std::size_t keep = 0;
    for (const auto& s : stops_)
      for (std::size_t n = std::min(s.size(), held_.size()); n > keep; --n)
        if (held_.ends_with(std::string_view(s).substr(0, n))) keep = n;
    std::string out = held_.substr(0, held_.size() - keep);
    held_.erase(0, out.size());
    return out;
  }
  std::string flush() { return std::exchange(held_, {}); }

 private:
  const std::vector<std::string>& stops_;
  std::string held_;
  bool stopped_ = false;
};

// Appends rows e [n, w] to the context and returns the logits [V] that follow the last of them, −∞ where the model's
// configuration forbids a token.
Tensor step(const CausalLM& model, const Context& ctx, const Var& e, KvCache& cache) {
  const std::int64_t n = e.shape()[0];
  const Layout layout = Layout::one(n, cache.length());
  const Var h = model.run(ctx, model.enter(ctx, e, layout), model.all(), layout, &cache);
  Tensor z = model.logits(ctx, h.value().rows(n - 1, n)).value().clone();
  const auto values = z.mutable_data<float>();
  for (const auto id : model.config().suppressed)
    if (std::size_t(id) < values.size()) values[std::size_t(id)] = -INFINITY;
  return z.reshape({z.numel()});
}

}  // namespace

Generated generate(const CausalLM& model, const Tokenizer& tokenizer, std::span<const std::int32_t> ids,
                   const Tensor& soft_prompt, const GenerateOptions& o,
                   const std::function<void(std::string_view)>& on_text) {
  const Context ctx{.compute = o.compute};
  const std::int64_t k = soft_prompt ? soft_prompt.shape()[0] : 0, given = k + std::int64_t(ids.size());
  const std::int64_t limit = model.config().max_positions;
  require(given > 0, ErrorCode::usage, "generate", "the prompt is empty and the tokenizer adds no first token");
  require(given <= limit, ErrorCode::usage, "generate", "the prompt takes ", given, " positions, the model has ",
          limit);
  KvCache cache = model.make_cache(std::min(limit, given + o.max_new_tokens));

  Var e = model.embed(ctx, ids);
  if (k > 0) e = ids.empty() ? Var(soft_prompt) : concat_rows(std::array{Var(soft_prompt), e});
  Generated out;
  out.prefill_tokens = given;
  double start = now();
  Tensor logits = step(model, ctx, e, cache);
  out.prefill_seconds = now() - start;

  start = now();
  DecodeStream decode(tokenizer);
  StopFilter filter(o.stop);
  const auto emit = [&](const std::string& text) {
    out.text += text;
    if (on_text && !text.empty()) on_text(text);
  };
  const auto& eos = model.config().eos;
  for (std::int64_t i = 0; i < o.max_new_tokens; ++i) {
    const std::int32_t id = sample(logits, o.sample, Rng{o.seed}, std::uint64_t(i));
    if (std::ranges::find(eos, id) != eos.end()) break;
    out.ids.push_back(id);
    emit(filter.push(decode.push(id)));
    if (filter.stopped() || cache.length() + 1 > cache.capacity() || i + 1 == o.max_new_tokens) break;
    logits = step(model, ctx, model.embed(ctx, std::span(&id, 1)), cache);
  }
  if (!filter.stopped()) emit(filter.push(decode.finish()) + filter.flush());
  out.decode_seconds = now() - start;
  return out;
}

}  // namespace sinter
