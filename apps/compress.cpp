// sinter compress: prunes and quantises the linears of a model, block by block.
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/compress_flags.h"
#include "apps/compress_plan.h"
#include "apps/parts.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "models/tokenizer.h"
#include "train/compress/pipeline.h"

namespace sinter {
namespace {

class Compress final : public Command {
 public:
  void declare(Flags& f) override { flags_.declare(f); }

  Json run(Session& s) override {
    CompressPlan plan;
    plan.method = flags_.make();
    plan.sparsity = flags_.target();
    plan.packed = flags_.save == "packed";
    plan.true_sequential = flags_.true_sequential;
    plan.only = flags_.only;
    plan.skip = flags_.skip;
    plan.compute = s.compute;
    plan.seed = s.seed;
    const auto model = load_model(flags_.model);
    const std::int64_t T = flags_.seq_len.value_or(default_seq_len(2048, model->config(), 0)),
                       limit = model->config().max_positions;
    require(T <= limit, ErrorCode::usage, "compress", "windows of ", T, " tokens exceed the model's ", limit,
            " positions");
    if (flags_.dry_run) return dry_run(s, *model, plan, T);

    AtomicDirectory dir(flags_.out);
    if (flags_.resume) s.log.note("no state of an earlier run is here; starting afresh");
    const Windows windows = calibration(*model, T, s.seed);
    const auto reports = compress(*model, windows, plan, s.log);
    const DType source = source_dtype(*model);
    save_weights(*model, dir.path(), {.params = source, .source = source});
    copy_model_files(flags_.model, dir.path(), config_changes(*model));
    Json json =
        flags_.settings(std::int64_t(windows.size()), windows.empty() ? 0 : std::int64_t(windows[0].size()), s.seed);
    json["model"] = flags_.model;
    describe(s, reports, json);
    write_text_atomic(dir.path() / "compression.json", json_text(json));
    dir.commit();
    s.out << "written to " << flags_.out << "\n";
    json["out"] = flags_.out;
    return json;
  }

 private:
  Windows calibration(const CausalLM& model, std::int64_t T, std::uint64_t seed) const {
    const std::int64_t vocab = model.config().vocab;
    if (flags_.calibration.empty()) return {};
    if (std::filesystem::path(flags_.calibration).extension() == ".json")
      return read_windows(flags_.calibration, vocab);
    Windows windows =
        read_calibration(flags_.calibration, *Tokenizer::load(flags_.model), vocab, flags_.samples, T, Rng{seed});
    for (const auto& w : windows) check_ids(w, vocab, ErrorCode::input, flags_.calibration);
    return windows;
  }

  Json dry_run(Session& s, CausalLM& model, const CompressPlan& plan, std::int64_t T) const {
    std::int64_t windows = flags_.calibration.empty() ? 0 : flags_.samples;
    if (std::filesystem::path(flags_.calibration).extension() == ".json") {
      const Windows given = read_windows(flags_.calibration, model.config().vocab);
      windows = std::int64_t(given.size());
      T = std::int64_t(given[0].size());
    }
    const CompressEstimate e = estimate_compression(model, flags_, plan.method->needs().gram, windows, T,
                                                    Checkpoint(flags_.model).bytes_on_disk());
    require(e.linears > 0, ErrorCode::usage, "compress", "no linear is selected");
    s.out << flags_.method_name << ", " << sinter::describe(plan.sparsity)
          << (flags_.bits ? ", " + std::to_string(*flags_.bits) + " bits" : "") << ", " << windows << " windows of "
          << T << " tokens\n";
    print_estimate(s.out, e);
    Json json = flags_.settings(windows, T, s.seed);
    json["estimate"] = estimate_json(e);
    return json;
  }

  // Other programs must not take codes for weights, nor look for codes that are gone.
  Json config_changes(CausalLM& model) const {
    bool packed = false;
    model.each_linear([&](Linear& l) { packed |= l.frozen()->pack().tag != "dense"; });
    if (packed) return {{"quantization_config", {{"quant_method", "sinter"}, {"version", 1}}}};
    const Json config = read_json(std::filesystem::path(flags_.model) / "config.json");
    return config.contains("quantization_config") ? Json{{"quantization_config", nullptr}} : Json::object();
  }

  // A table for people, and the same in compression.json.
  static void describe(Session& s, const std::vector<LayerReport>& reports, Json& json) {
    Json list = Json::array();
    double weights = 0, zeros = 0, bits = 0, seconds = 0;
    std::size_t width = 6;
    for (const auto& r : reports) width = std::max(width, r.name.size());
    s.out << "linear" << std::string(width - 4, ' ') << "shape           error      zeros    bits     s\n";
    for (const auto& r : reports) {
      const double n = double(r.rows * r.columns);
      weights += n;
      zeros += n * r.zeros;
      bits += n * r.bits_per_weight;
      seconds += r.seconds;
      char row[120];
      std::snprintf(row, sizeof row, "%6lld x %-6lld %9.3g %8.3f %% %7.3f %6.2f\n", static_cast<long long>(r.rows),
                    static_cast<long long>(r.columns), r.error, 100 * r.zeros, r.bits_per_weight, r.seconds);
      s.out << r.name << std::string(width - r.name.size() + 2, ' ') << row;
      list.push_back({{"name", r.name},
                      {"block", r.block},
                      {"shape", {r.rows, r.columns}},
                      {"error", r.error},
                      {"zeros", r.zeros},
                      {"bits_per_weight", r.bits_per_weight},
                      {"loss", r.loss},
                      {"damp", r.damp},
                      {"ladder", r.ladder},
                      {"seconds", r.seconds}});
    }
    s.out << "all linears: " << fixed(bits / weights, 3) << " bits per weight, " << fixed(100 * zeros / weights, 3)
          << " % zeros, solved in " << fixed(seconds, 1) << " s\n";
    json["linears"] = list;
    json["totals"] = {{"weights", std::int64_t(weights)},
                      {"bits_per_weight", bits / weights},
                      {"zeros", zeros / weights},
                      {"seconds", seconds}};
  }

  CompressFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_compress() { return std::make_unique<Compress>(); }

}  // namespace sinter
