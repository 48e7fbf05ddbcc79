#include "train/compress/pipeline.h"

#include <chrono>
#include <cstdio>
#include <optional>
#include <regex>
#include <set>

#include "train/compress/freeze.h"
#include "train/compress/hidden_bank.h"

namespace sinter {
namespace {

using Stage = std::vector<Linear*>;

std::optional<std::regex> expression(const std::string& text, std::string_view flag) {
  if (text.empty()) return std::nullopt;
  try {
    return std::regex(text);
  } catch (const std::regex_error&) { fail(ErrorCode::usage, flag, "\"", text, "\" is not a regular expression"); }
}

// The type a linear stores its dense weight in, which an unquantised result goes back to.
DType stored_type(const Linear& l) {
  const Packed p = l.frozen()->pack();
  return p.tag == "dense" ? p.parts.at("weight").dtype() : DType::f32;
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

class Run {
 public:
  Run(CausalLM& model, const Windows& windows, const CompressPlan& plan, LogSink& log)
      : model_(model), plan_(plan), log_(log), ctx_{.compute = plan.compute} {
    require(plan.method != nullptr, ErrorCode::usage, "compress", "no method");
    request_ = plan.method->needs();
    require(!request_.any() || !windows.empty(), ErrorCode::usage, "compress", "this method needs calibration windows");
    const bool prunes = !std::holds_alternative<Unpruned>(plan.sparsity);
    const auto pruning = plan.method->pruning();
    require(prunes || pruning != LayerMethod::Pruning::required, ErrorCode::usage, "compress",
            "this method needs a sparsity or a pattern");
    require(!prunes || pruning != LayerMethod::Pruning::none, ErrorCode::usage, "compress",
            "this method does not prune");
    select();
    if (windows.empty()) return;
    request_.gram |= plan.measure;
    if (!request_.any()) return;
    bank_.emplace(model, windows, ctx_);
    warn_of_few_tokens();
  }

  std::vector<LayerReport> all() {
    const int blocks = model_.all().last;
    for (int b = 0; b < blocks && done_ < total_; ++b) {
      compress_block(b);
      if (bank_ && done_ < total_) bank_->advance(model_, b, ctx_);
    }
    return std::move(reports_);
  }

 private:
  void select();
  void warn_of_few_tokens();
  void compress_block(int block);
  void compress_round(int block, const Stage& round);
  FrozenWeightPtr compress_one(int block, const Linear&, const StatsCollector*);
  void report(int block, const Linear&, const LayerResult&, double seconds);
  Stage wanted_of(const Stage&) const;

  CausalLM& model_;
  const CompressPlan& plan_;
  LogSink& log_;
  Context ctx_;
  StatsRequest request_;
  std::optional<HiddenBank> bank_;
  std::set<const Linear*> wanted_;
  std::int64_t done_ = 0, total_ = 0;
  std::vector<LayerReport> reports_;
  const LayerStats* memo_of_ = nullptr;
  std::optional<FactorMemo> memo_;
};

// Also checks, before any work, that every selected linear can take the pattern.
void Run::select() {
  const auto only = expression(plan_.only, "only"), skip = expression(plan_.skip, "skip");
  model_.each_linear([&](Linear& l) {
    if (only && !std::regex_search(l.name(), *only)) return;
    if (skip && std::regex_search(l.name(), *skip)) return;
    check_sparsity(plan_.sparsity, l.in_features(), l.name());
    wanted_.insert(&l);
  });
  total_ = std::int64_t(wanted_.size());
  require(total_ > 0, ErrorCode::usage, "compress", "no linear is selected");
}

void Run::warn_of_few_tokens() {
  if (!plan_.method->needs().gram) return;
  std::int64_t widest = 0;
  for (const Linear* l : wanted_) widest = std::max(widest, l->in_features());
  if (bank_->tokens() >= widest) return;
  std::ostringstream text;
  text << bank_->tokens() << " calibration tokens for linears of " << widest
       << " inputs: the result rests on the damping";
  log_.warn(text.str());
}

Stage Run::wanted_of(const Stage& stage) const {
  Stage s;
  for (Linear* l : stage)
    if (wanted_.contains(l)) s.push_back(l);
  return s;
}

void Run::compress_block(int block) {
  std::vector<Stage> rounds;
  for (const Stage& stage : model_.block(block).stages()) {
    const Stage wanted = wanted_of(stage);
    if (plan_.true_sequential || rounds.empty()) rounds.push_back(wanted);
    else rounds[0].insert(rounds[0].end(), wanted.begin(), wanted.end());
  }
  std::vector<std::pair<Linear*, FrozenWeightPtr>> before;
  const std::size_t reported = reports_.size();
  try {
    for (const Stage& round : rounds) {
      for (Linear* l : round) before.emplace_back(l, l->frozen());
      if (!round.empty()) compress_round(block, round);
    }
  } catch (...) {
    for (auto& [linear, weight] : before) linear->replace(weight);
    reports_.resize(reported);
    throw;
  }
}

// Statistics of all linears of the round with the block as it is, then all solves, then all replacements.
void Run::compress_round(int block, const Stage& round) {
  std::optional<StatsCollector> stats;
  if (bank_) {
    stats.emplace(request_, round);
    Context observed = ctx_;
    observed.observer = &*stats;
    bank_->observe(model_, block, observed);
    stats->finish(bank_->sequences());
  }
  std::vector<FrozenWeightPtr> results;
  for (const Linear* l : round) {
    log_.check_stop("compress");
    results.push_back(compress_one(block, *l, stats ? &*stats : nullptr));
  }
  for (std::size_t i = 0; i < round.size(); ++i) round[i]->replace(results[i]);
  memo_.reset();
  memo_of_ = nullptr;
}

FrozenWeightPtr Run::compress_one(int block, const Linear& l, const StatsCollector* collected) {
  const auto stats = collected ? collected->of(l) : nullptr;
  if (stats.get() != memo_of_ || !memo_) memo_.emplace();
  memo_of_ = stats.get();
  LayerProblem p;
  p.name = l.name();
  p.weight = l.dense();
  p.stats = stats.get();
  p.sparsity = plan_.sparsity;
  p.store = stored_type(l);
  p.memo = &*memo_;
  const auto start = std::chrono::steady_clock::now();
  LayerResult r = plan_.method->compress(p);
  report(block, l, r, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return freeze(std::move(r), p.store, plan_.packed);
}

void Run::report(int block, const Linear& l, const LayerResult& r, double seconds) {
  reports_.push_back({l.name(), block, l.out_features(), l.in_features(), r.error, r.zeros, r.bits_per_weight, r.loss,
                      r.damp, r.ladder, seconds});
  ++done_;
  char text[200];
  if (r.ladder > 0) {
    std::snprintf(text, sizeof text, "%s: the Hessian could not be factored; damping raised to %g%s", l.name().c_str(),
                  r.damp, r.ladder > 3 ? ", in f64" : "");
    log_.warn(text);
  }
  const int length =
      std::snprintf(text, sizeof text, "block %d/%d %s", block + 1, model_.all().last, last_part(l.name()).c_str());
  if (r.damp > 0) std::snprintf(text + length, sizeof text - std::size_t(length), " damping %g", r.damp);
  const std::string unit = std::string(text) + " error";
  log_.progress({"compress", done_, total_, r.error, unit});
}

}  // namespace

std::vector<LayerReport> compress(CausalLM& model, const Windows& windows, const CompressPlan& plan, LogSink& log) {
  return Run(model, windows, plan, log).all();
}

}  // namespace sinter
