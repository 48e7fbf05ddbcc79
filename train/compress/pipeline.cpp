#include "train/compress/pipeline.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <regex>
#include <set>

#include "train/compress/freeze.h"
#include "train/compress/hidden_bank.h"
#include "train/compress/stopwatch.h"
#include "train/compress/work.h"

namespace sinter {
namespace {

using Stage = std::vector<Linear*>;
using Round = std::vector<Stage>;  // statistics are collected stage after stage, replacements come at the end

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
  Run(CausalLM& model, const Windows& windows, const CompressPlan& plan, LogSink& log, RunState* state);
  std::vector<LayerReport> all();

 private:
  void check_plan(const Windows&) const;
  void warn_of_few_tokens();
  void plan_work();
  double pass_work(int block) const;
  void start();
  void advance();
  void finish_block(int block);
  void record(int finished);
  PhaseSeconds so_far() const;
  void compress_block(int block);
  std::vector<Round> rounds_of(int block) const;
  void compress_round(int block, const Round&);
  std::unique_ptr<StatsCollector> statistics(int block, const Stage&);
  FrozenWeightPtr compress_one(int block, const Linear&, const StatsCollector*);
  void report(int block, const Linear&, const LayerResult&, const FrozenWeight&, double seconds);
  void step(double work);

  CausalLM& model_;
  const CompressPlan& plan_;
  LogSink& log_;
  RunState* state_;
  Context ctx_;
  StatsRequest request_;
  std::optional<HiddenBank> bank_;
  std::set<const Linear*> wanted_;
  int last_ = 0;  // block with a selected linear
  std::vector<LayerReport> reports_;
  PhaseSeconds seconds_;  // `all` is that of earlier runs
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  double work_done_ = 0, work_ = 0;  // in units of Rates
  double last_error_ = 0;
  std::string last_unit_;
  const LayerStats* memo_of_ = nullptr;
  std::optional<FactorMemo> memo_;
};

Run::Run(CausalLM& model, const Windows& windows, const CompressPlan& plan, LogSink& log, RunState* state)
    : model_(model), plan_(plan), log_(log), state_(state), ctx_{.compute = plan.compute} {
  check_plan(windows);
  request_ = plan.method->needs();
  for (const Linear* l : selected_linears(model, plan)) wanted_.insert(l);
  for (int b = 0; b < model.all().last; ++b)
    for (const Stage& stage : model.block(b).stages())
      if (std::ranges::any_of(stage, [&](Linear* l) { return wanted_.contains(l); })) last_ = b;
  if (!windows.empty()) {
    request_.gram |= plan.measure;
    if (request_.any()) {
      const std::string name =
          "sinter-" + (state ? state->hash() : std::to_string(::getpid()) + "-" + std::to_string(std::uintptr_t(this)));
      bank_.emplace(model, windows, plan.scratch.empty() ? plan.scratch : plan.scratch / name);
      warn_of_few_tokens();
    }
  }
  plan_work();
}

void Run::check_plan(const Windows& windows) const {
  require(plan_.method != nullptr, ErrorCode::usage, "compress", "no method");
  require(!plan_.method->needs().any() || !windows.empty(), ErrorCode::usage, "compress",
          "this method needs calibration windows");
  const bool prunes = !std::holds_alternative<Unpruned>(plan_.sparsity);
  const auto pruning = plan_.method->pruning();
  require(prunes || pruning != LayerMethod::Pruning::required, ErrorCode::usage, "compress",
          "this method needs a sparsity or a pattern");
  require(!prunes || pruning != LayerMethod::Pruning::none, ErrorCode::usage, "compress", "this method does not prune");
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

// For the time left: passes and solves are unequal steps. Of finished blocks only the pass that brings the hidden
// states on may be left.
void Run::plan_work() {
  const bool factors = plan_.method->needs().gram;
  const int finished = state_ ? state_->finished() : 0;
  for (int b = state_ ? state_->hidden() : 0; b <= last_; ++b) {
    std::size_t passes = b < last_ ? 1 : 0;
    if (b >= finished)
      for (const Round& round : rounds_of(b)) passes += round.size();
    if (bank_) work_ += double(passes) * pass_work(b);
    if (b < finished) continue;
    for (const Stage& stage : model_.block(b).stages())
      for (const Linear* l : stage)
        if (wanted_.contains(l)) work_ += Rates().seconds(solve_work(*l, factors, l != stage.front()));
  }
}

double Run::pass_work(int block) const {
  const double tokens = double(bank_->tokens()), length = double(bank_->length());
  return Rates().seconds(forward_work(model_.block(block), model_.config(), tokens, length));
}

void Run::step(double work) {
  work_done_ += work;
  log_.progress({"compress", std::int64_t(reports_.size()), std::int64_t(wanted_.size()), last_error_, last_unit_,
                 work_ > 0 ? work_done_ / work_ : -1});
}

std::vector<LayerReport> Run::all() {
  start();
  for (int b = state_ ? state_->finished() : 0; b <= last_; ++b) {
    if (bank_ && bank_->block() < b) advance();
    compress_block(b);
    finish_block(b);
  }
  if (state_) state_->set_seconds(so_far());
  if (bank_) bank_->keep(false);
  return std::move(reports_);
}

// With those of the run that this one takes up.
PhaseSeconds Run::so_far() const {
  PhaseSeconds s = seconds_;
  s.all += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  return s;
}

// Maps what an earlier run finished, and brings the hidden states to where it was.
void Run::start() {
  const int finished = state_ ? state_->finished() : 0;
  if (state_) {
    reports_ = state_->reports();
    seconds_ = state_->seconds();
    for (int b = 0; b < finished; ++b)
      if (const auto file = state_->find_block(b, model_.all().last)) map_block(model_, b, *file);
    for (int b = 0; b < model_.all().last; ++b) release_block(model_, b);
  }
  if (!bank_ || finished > last_) return;
  const bool found = state_ && state_->hidden() > 0 && bank_->reopen(state_->hidden());
  if (finished > 0 && !found) log_.note("the hidden states are computed again from the calibration windows");
  if (!found) bank_->enter(model_, ctx_, [this] { log_.check_stop("compress"); });
  release_ends(model_);
  while (bank_->block() < finished) advance();
}

// The states go on through the bank's block, as it is now.
void Run::advance() {
  const int block = bank_->block();
  const double work = pass_work(block);
  std::int64_t again = 0;
  {
    const Stopwatch watch(seconds_.forward);
    again = bank_->advance(model_, ctx_, [&] {
      log_.check_stop("compress");
      step(work / double(bank_->batches()));
    });
  }
  if (again > 0)
    log_.warn("block " + std::to_string(block + 1) + ": " + std::to_string(again) +
              " batches of outputs are not finite in bf16; computed again in f32");
  release_block(model_, block);
  if (state_ && state_->finished() > block && !plan_.scratch.empty()) record(state_->finished());
}

void Run::record(int finished) {
  const Stopwatch watch(seconds_.write);
  const bool in_files = bank_ && !plan_.scratch.empty();
  state_->record(finished, in_files ? std::min(bank_->block(), finished) : 0, reports_, so_far());
  if (in_files) bank_->keep(true);
}

void Run::finish_block(int block) {
  if (state_) {
    bool changed = false;
    for (const Stage& stage : model_.block(block).stages())
      for (const Linear* l : stage) changed |= wanted_.contains(l);
    if (changed) {
      const Stopwatch watch(seconds_.write);
      const DType source = source_dtype(model_);
      save_block(model_, block, state_->block_file(block), {.params = source, .source = source});
      map_block(model_, block, state_->block_file(block));
      allocator_of({}).trim();
    }
    record(block + 1);
  }
}

std::vector<Round> Run::rounds_of(int block) const {
  std::vector<Round> rounds;
  for (const Stage& stage : model_.block(block).stages()) {
    Stage wanted;
    for (Linear* l : stage)
      if (wanted_.contains(l)) wanted.push_back(l);
    if (wanted.empty()) continue;
    if (plan_.true_sequential || rounds.empty()) rounds.push_back({wanted});
    else if (plan_.one_stage) rounds[0].push_back(wanted);
    else rounds[0][0].insert(rounds[0][0].end(), wanted.begin(), wanted.end());
  }
  return rounds;
}

void Run::compress_block(int block) {
  std::vector<std::pair<Linear*, FrozenWeightPtr>> before;
  const std::size_t reported = reports_.size();
  try {
    for (const Round& round : rounds_of(block)) {
      for (const Stage& stage : round)
        for (Linear* l : stage) before.emplace_back(l, l->frozen());
      compress_round(block, round);
    }
  } catch (...) {
    for (auto& [linear, weight] : before) linear->replace(weight);
    reports_.resize(reported);
    throw;
  }
}

// All linears of the round see the block as it was before the round.
void Run::compress_round(int block, const Round& round) {
  std::vector<std::pair<Linear*, FrozenWeightPtr>> results;
  for (const Stage& stage : round) {
    const auto stats = bank_ ? statistics(block, stage) : nullptr;
    for (Linear* l : stage) {
      log_.check_stop("compress");
      results.emplace_back(l, compress_one(block, *l, stats.get()));
      if (stats) stats->forget(*l);
    }
    memo_.reset();
    memo_of_ = nullptr;
  }
  for (auto& [linear, weight] : results) linear->replace(std::move(weight));
}

// What goes beyond the range of bf16 is seen again in f32; what is not finite there ends the run at its linear.
std::unique_ptr<StatsCollector> Run::statistics(int block, const Stage& stage) {
  const double work = pass_work(block);
  for (Context ctx = ctx_;; ctx.compute = Compute::f32) {
    auto stats = std::make_unique<StatsCollector>(request_, stage, bank_->length());
    const double before = seconds_.statistics;
    TimedObserver timed(*stats, seconds_.statistics);
    ctx.observer = &timed;
    const auto start = std::chrono::steady_clock::now();
    bank_->observe(model_, ctx, [&] {
      log_.check_stop("compress");
      step(work / double(bank_->batches()));
    });
    stats->finish();
    seconds_.forward += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() -
                        (seconds_.statistics - before);
    release_block(model_, block);
    allocator_of({}).trim();
    const auto broken = std::ranges::find_if(stage, [&](Linear* l) { return stats->of(*l)->not_finite.has_value(); });
    if (ctx.compute == Compute::f32 || broken == stage.end()) return stats;
    work_ += work;
    log_.warn((*broken)->name() + ": inputs are not finite in bf16; block " + std::to_string(block + 1) +
              " is run again in f32");
  }
}

FrozenWeightPtr Run::compress_one(int block, const Linear& l, const StatsCollector* collected) {
  const auto stats = collected ? collected->of(l) : nullptr;
  if (stats && stats->not_finite)
    fail(ErrorCode::numeric, l.name(), "block ", block + 1, ": the inputs of column ", stats->not_finite->column,
         " are not finite in calibration window ", stats->not_finite->sequence + 1);
  const bool shared = stats && stats.get() == memo_of_;
  if (!shared || !memo_) memo_.emplace();
  if (!shared) allocator_of({}).trim();
  memo_of_ = stats.get();
  LayerProblem p;
  p.name = l.name();
  p.weight = l.dense();
  p.stats = stats.get();
  if (collected) p.energy = collected->energy(l);
  if (stats && spends_gram(l.in_features())) p.spend = stats.get();
  p.sparsity = plan_.sparsity;
  p.store = stored_type(l);
  p.memo = &*memo_;
  release_pages(*l.frozen());
  const double before = seconds_.solve;
  FrozenWeightPtr frozen;
  LayerResult r;
  {
    const Stopwatch watch(seconds_.solve);
    r = plan_.method->compress(p);
    p.weight = {};
    frozen = freeze(r, p.sparsity, p.store, plan_.packed);
    r.dense = {};
    r.packed.reset();
  }
  report(block, l, r, *frozen, seconds_.solve - before);
  step(Rates().seconds(solve_work(l, plan_.method->needs().gram, shared)));
  return frozen;
}

void Run::report(int block, const Linear& l, const LayerResult& r, const FrozenWeight& frozen, double seconds) {
  LayerReport report;
  report.name = l.name();
  report.block = block;
  report.rows = l.out_features();
  report.columns = l.in_features();
  report.error = r.error;
  report.zeros = r.zeros;
  report.loss = r.loss;
  report.damp = r.damp;
  report.ladder = r.ladder;
  report.dead = r.dead;
  report.over_plain = r.over_plain;
  report.warnings = remarks(r);
  report.bits_per_weight = 8. * double(stored_bytes(frozen)) / double(report.rows * report.columns);
  report.seconds = seconds;
  for (const auto& remark : report.warnings) log_.warn(report.name + ": " + remark);
  char text[200];
  int length =
      std::snprintf(text, sizeof text, "block %d/%d %s", block + 1, model_.all().last, last_part(l.name()).c_str());
  if (r.damp > 0) length += std::snprintf(text + length, sizeof text - std::size_t(length), " damping %g", r.damp);
  std::snprintf(text + length, sizeof text - std::size_t(length), " %.1f s error", seconds);
  last_unit_ = text;
  last_error_ = r.error;
  reports_.push_back(std::move(report));
}

}  // namespace

std::vector<Linear*> selected_linears(CausalLM& model, const CompressPlan& plan) {
  const auto only = expression(plan.only, "--only"), skip = expression(plan.skip, "--skip");
  std::vector<Linear*> selected;
  model.each_linear([&](Linear& l) {
    if (only && !std::regex_search(l.name(), *only)) return;
    if (skip && std::regex_search(l.name(), *skip)) return;
    plan.method->check(plan.sparsity, l.in_features(), l.name());
    selected.push_back(&l);
  });
  require(!selected.empty(), ErrorCode::usage, "compress", "no linear is selected");
  return selected;
}

std::vector<LayerReport> compress(CausalLM& model, const Windows& windows, const CompressPlan& plan, LogSink& log,
                                  RunState* state) {
  return Run(model, windows, plan, log, state).all();
}

}  // namespace sinter
