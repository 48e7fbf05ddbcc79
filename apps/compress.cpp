// sinter compress: prunes and quantises the linears of a model, block by block.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/compress_flags.h"
#include "apps/compress_plan.h"
#include "apps/parts.h"
#include "core/file.h"
#include "models/block_file.h"
#include "models/config.h"
#include "models/tokenizer.h"
#include "train/compress/hidden_bank.h"
#include "train/compress/pipeline.h"
#include "train/compress/stopwatch.h"
#include "train/data/calibration.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr const char* kState = "state";  // within DIR.partial

struct Totals {
  double weights = 0, zeros = 0, bits = 0, seconds = 0;
};

Totals totals_of(const std::vector<LayerReport>& reports) {
  Totals t;
  for (const auto& r : reports) {
    const double n = double(r.rows) * double(r.columns);
    t.weights += n;
    t.zeros += n * r.zeros;
    t.bits += n * r.bits_per_weight;
    t.seconds += r.seconds;
  }
  return t;
}

void print_reports(std::ostream& out, const std::vector<LayerReport>& reports) {
  std::size_t width = 6;
  for (const auto& r : reports) width = std::max(width, r.name.size());
  out << "linear" << std::string(width - 4, ' ') << "shape           error      zeros    bits     s\n";
  for (const auto& r : reports) {
    char row[120];
    std::snprintf(row, sizeof row, "%6lld x %-6lld %9.3g %8.3f %% %7.3f %6.2f\n", static_cast<long long>(r.rows),
                  static_cast<long long>(r.columns), r.error, 100 * r.zeros, r.bits_per_weight, r.seconds);
    out << r.name << std::string(width - r.name.size() + 2, ' ') << row;
  }
  const Totals t = totals_of(reports);
  out << "all linears: " << fixed(t.bits / t.weights, 3) << " bits per weight, " << fixed(100 * t.zeros / t.weights, 3)
      << " % zeros, solved in " << fixed(t.seconds, 1) << " s\n";
}

void print_seconds(std::ostream& out, const PhaseSeconds& s) {
  const auto share = [&](const char* name, double part) {
    out << name << " " << fixed(part, 1) << " s (" << fixed(s.all > 0 ? 100 * part / s.all : 0, 1) << " %)";
  };
  share("time: forward passes", s.forward);
  share(", statistics", s.statistics);
  share(", solving", s.solve);
  share(", writing", s.write);
  share(", rest", s.rest());
  out << "\n";
}

bool has_tokenizer(const fs::path& dir) {
  return std::ranges::any_of(std::array{"tokenizer.model", "tokenizer.json", "vocab.json"},
                             [&](const char* name) { return fs::exists(dir / name); });
}

class Compress final : public Command {
 public:
  void declare(Flags& f) override { flags_.declare(f); }
  void check() const override { (void)flags_.make(); }

  // What can be wrong with the inputs is found before the output is looked at.
  Json run(Session& s) override {
    CompressPlan plan = plan_of(s);
    const auto model = load_model(flags_.model, &s.log);
    const Windows windows = calibration(*model, s);
    (void)selected_linears(*model, plan);
    if (!windows.empty()) HiddenBank::check(*model, windows);
    EstimateInput facts;
    facts.windows = std::int64_t(windows.size());
    facts.length = windows.empty() ? 0 : std::int64_t(windows[0].size());
    facts.bits = flags_.bits.value_or(0);
    facts.group = flags_.group_size.value_or(-1);
    facts.base_bytes = double(resident_bytes());
    if (flags_.dry_run) return dry_run(s, *model, plan, facts);

    AtomicDirectory dir(flags_.out, AtomicDirectory::Stale::adopt);
    begin(s, dir);
    if (flags_.memory_limit())
      (void)fit_plan(*model, plan, facts, {}, flags_.memory_limit(), dir.path() / kState, s.log);
    RunState state(dir.path() / kState, fingerprint(s, windows));
    std::vector<LayerReport> reports;
    double write_seconds = 0;
    Json json;
    try {
      if (state.finished() > 0)
        s.log.note("going on after block " + std::to_string(state.finished()) + " of " +
                   std::to_string(model->all().last));
      reports = compress(*model, windows, plan, s.log, &state);
      const Stopwatch watch(write_seconds);
      json = finish(s, *model, dir, state, facts, reports);
    } catch (...) {
      keep(s, *model, dir, state);
      throw;
    }
    return summary(s, state, reports, write_seconds, std::move(json));
  }

 private:
  CompressPlan plan_of(const Session& s) const {
    CompressPlan plan;
    plan.method = flags_.make();
    plan.sparsity = flags_.target();
    plan.packed = flags_.save == "packed";
    plan.true_sequential = flags_.true_sequential;
    plan.only = flags_.only;
    plan.skip = flags_.skip;
    plan.compute = s.compute;
    plan.seed = s.seed;
    plan.scratch = flags_.scratch;
    return plan;
  }

  Windows calibration(const CausalLM& model, const Session& s) const {
    const std::int64_t vocab = model.config().vocab, limit = model.config().max_positions,
                       T = flags_.seq_len.value_or(default_seq_len(2048, model.config(), 0));
    require(T <= limit, ErrorCode::usage, "--seq-len", "windows of ", T, " tokens exceed the model's ", limit,
            " positions");
    if (flags_.calibration.empty()) return {};
    if (flags_.calibration_like.empty() && fs::path(flags_.calibration).extension() == ".json")
      return read_windows(flags_.calibration, vocab);
    const auto tokenizer = Tokenizer::load(flags_.model);
    Windows windows = flags_.calibration_like.empty()
                          ? read_calibration(flags_.calibration, *tokenizer, vocab, flags_.samples, T, Rng{s.seed})
                          : calibration_like(parse_calibration_style(flags_.calibration_like), flags_.calibration,
                                             *tokenizer, flags_.samples, T, s.seed);
    for (const auto& w : windows) check_ids(w, vocab, ErrorCode::input, flags_.calibration);
    return windows;
  }

  Json dry_run(Session& s, CausalLM& model, CompressPlan& plan, const EstimateInput& facts) const {
    const double read = double(peak_rss_bytes());
    const Rates rates = measure_rates(model, plan);
    CompressEstimate e = fit_plan(model, plan, facts, rates, flags_.memory_limit(), flags_.out + ".partial", s.log);
    e.phases.insert(e.phases.begin(), EstimatePhase{"reading the model and the calibration", read, 0});
    const double output = double(Checkpoint(flags_.model).bytes_on_disk()) + e.compressed_bytes - e.source_bytes;
    s.out << flags_.method_name << ", " << describe(plan.sparsity)
          << (flags_.bits ? ", " + std::to_string(*flags_.bits) + " bits" : "") << ", " << facts.windows
          << " windows of " << facts.length << " tokens\n";
    print_estimate(s.out, e, rates, output);
    Json json = flags_.settings(facts.windows, facts.length, s);
    json["estimate"] = estimate_json(e, rates, output);
    return json;
  }

  // Drops what an earlier run left, unless this one goes on with it.
  void begin(const Session& s, AtomicDirectory& dir) const {
    const bool found = RunState::exists(dir.path() / kState);
    if (found && flags_.resume) return dir.keep();
    if (found)
      s.log.warn("the state of an interrupted run in " + dir.path().string() +
                 " is dropped; --resume would have gone on with it");
    if (!found && flags_.resume) s.log.note("no state of an earlier run is here; starting afresh");
    dir.clear();
  }

  // Everything but where files are and how memory is used.
  Json fingerprint(const Session& s, const Windows& windows) const {
    Json settings =
        flags_.settings(std::int64_t(windows.size()), windows.empty() ? 0 : std::int64_t(windows[0].size()), s);
    for (const char* path : {"calibration", "calibration_like"}) settings.erase(path);
    settings["windows"] = windows_fingerprint(windows);
    settings["model"] = model_fingerprint(flags_.model);
    return settings;
  }

  Json finish(Session& s, CausalLM& model, AtomicDirectory& dir, const RunState& state, const EstimateInput& facts,
              const std::vector<LayerReport>& reports) const {
    const DType source = source_dtype(model);
    assemble_model(model, dir.path(), {.params = source, .source = source},
                   [&](int block) { return state.block_file(block); });
    copy_model_files(flags_.model, dir.path(), storage_changes(model, flags_.model));
    if (!has_tokenizer(dir.path()))
      s.log.warn(flags_.model + " holds no tokenizer, so neither does the compressed model");
    const Totals t = totals_of(reports);
    Json json = flags_.settings(facts.windows, facts.length, s);
    json["model"] = flags_.model;
    json["linears"] = Json::array();
    for (const auto& r : reports) json["linears"].push_back(report_json(r));
    json["totals"] = {{"weights", std::int64_t(t.weights)},
                      {"bits_per_weight", t.bits / t.weights},
                      {"zeros", t.zeros / t.weights},
                      {"seconds", t.seconds}};
    write_text_atomic(dir.path() / "compression.json", json_text(json));
    fs::remove_all(dir.path() / kState);
    dir.commit();
    return json;
  }

  // Finished blocks stay for a later run, and the message says how to go on.
  void keep(const Session& s, CausalLM& model, AtomicDirectory& dir, const RunState& state) const {
    if (state.finished() == 0 || !RunState::exists(dir.path() / kState)) return;
    dir.keep();
    const std::string again = flags_.resume ? s.command : s.command + " --resume";
    const std::string kept = std::to_string(state.finished()) + " of " + std::to_string(model.all().last) +
                             " blocks are kept in " + dir.path().string() + "; to go on: " + again;
    try {
      throw;
    } catch (const Error& e) { throw Error(e.code(), e.what(), kept); } catch (const std::bad_alloc&) {
      fail(ErrorCode::out_of_memory, "compress", "out of memory: ", kept);
    }
  }

  Json summary(Session& s, const RunState& state, const std::vector<LayerReport>& reports, double write_seconds,
               Json json) const {
    PhaseSeconds seconds = state.seconds();
    seconds.write += write_seconds;
    seconds.all += write_seconds;
    print_reports(s.out, reports);
    print_seconds(s.out, seconds);
    s.out << "written to " << flags_.out << "\n";
    json["out"] = flags_.out;
    json["seconds"] = seconds_json(seconds);
    json["peak_rss_bytes"] = peak_rss_bytes();
    return json;
  }

  CompressFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_compress() { return std::make_unique<Compress>(); }

}  // namespace sinter
