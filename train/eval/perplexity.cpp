#include "train/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "train/batch.h"

namespace sinter {
namespace {

constexpr std::int64_t kRows = 2048;  // per forward pass, about

}  // namespace

Perplexity perplexity(const CausalLM& model, std::span<const std::int32_t> ids, const PerplexityOptions& o,
                      LogSink& log) {
  const std::int64_t T = o.seq_len, k = o.soft_prompt ? o.soft_prompt.shape()[0] : 0,
                     limit = model.config().max_positions;
  require(T >= 2 + o.context, ErrorCode::usage, "perplexity", "seq-len ", T, " scores nothing");
  require(T + k <= limit, ErrorCode::usage, "perplexity", "seq-len ", T, k ? " and the prompt's " : "",
          k ? std::to_string(k) : "", " exceed the model's ", limit, " positions");
  std::int64_t chunks = std::int64_t(ids.size()) / T;
  require(chunks > 0, ErrorCode::usage, "perplexity", "the text has ", ids.size(), " tokens, fewer than one chunk of ",
          T);
  if (o.max_chunks > 0) chunks = std::min(chunks, o.max_chunks);

  Perplexity r;
  r.seq_len = T;
  r.chunks = chunks;
  r.scored_tokens = chunks * (T - 1 - o.context);
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t per_pass = std::max<std::int64_t>(1, kRows / (T + k));
  double sum = 0;
  for (std::int64_t c = 0; c < chunks; c += per_pass) {
    log.check_stop("perplexity");
    const std::int64_t n = std::min(per_pass, chunks - c);
    std::vector<std::int32_t> windows(ids.begin() + c * T, ids.begin() + (c + n) * T);
    for (std::int64_t i = 0; o.first >= 0 && i < n; ++i) windows[std::size_t(i * T)] = o.first;
    const Batch batch = window_batch(windows, T);
    const Tensor nll = batch_nll(model, Context{.compute = o.compute}, batch, o.soft_prompt);
    const auto values = nll.data<float>();
    std::int64_t t = 0;  // the token that is predicted, of its chunk
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (batch.targets[i] < 0) continue;
      t = t % (T - 1) + 1;
      if (t <= o.context) continue;
      sum += double(values[i]);
      r.token_nll.push_back(values[i]);
    }
    log.progress({"perplexity", c + n, chunks, std::exp(sum / double(r.token_nll.size())), "ppl"});
  }
  r.nll = sum / double(r.scored_tokens);
  require(std::isfinite(r.nll), ErrorCode::numeric, "perplexity", "the model's loss is not a number");
  r.ppl = std::exp(r.nll);
  r.ppl_paper = std::exp(r.nll * double(T - 1 - o.context) / double(T - 1 - o.context + k));
  r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return r;
}

}  // namespace sinter
