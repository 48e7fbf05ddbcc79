// sinter merge: folds an adapter into the weights.
#include "train/merge.h"

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/parts.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "train/adapter_file.h"

namespace sinter {
namespace {

class Merge final : public Command {
 public:
  void declare(Flags& f) override {
    declare_model(f, model_);
    f.option("--adapter", "A", &adapter_, "The adapter: a directory that finetune or PEFT wrote").required();
    f.option("--out", "DIR", &out_, "Where the merged model goes").alias("-o").alias("--output-dir").required();
    f.flag("--requantise", o_.requantise, "Round quantised linears again, on grids of the same bits and groups");
    f.flag("--dense", o_.dense, "Quantised and sparse linears become plain weights");
    f.flag("--remask", o_.remask, "LoRA over sparse weights: what was zero becomes zero again (LoRA*)");
    f.flag("--densify", o_.densify, "LoRA over sparse weights: let it fill the zeros");
  }

  void check() const override {
    require(!(o_.requantise && o_.dense), ErrorCode::usage, "merge", "--requantise and --dense exclude each other");
    require(!(o_.remask && o_.densify), ErrorCode::usage, "merge", "--remask and --densify exclude each other");
  }

  Json run(Session& s) override {
    const auto model = load_model(model_, &s.log);
    load_adapter(adapter_, *model);
    AtomicDirectory dir(out_);
    const DType source = source_dtype(*model);
    o_.store = source;
    const auto reports = merge_adapters(*model, o_, s.log);
    save_weights(*model, dir.path(), {.params = source, .source = source});
    copy_model_files(model_, dir.path(), storage_changes(*model, model_));
    dir.commit();
    return report(s, reports);
  }

 private:
  Json report(Session& s, const std::vector<MergeReport>& reports) const {
    Json list = Json::array();
    double before = 0, after = 0, worst = 0;
    std::int64_t zeros = 0, kept = 0, created = 0;
    for (const auto& r : reports) {
      before += r.zeros_before / double(reports.size());
      after += r.zeros_after / double(reports.size());
      zeros += r.zeros, kept += r.kept, created += r.created;
      worst = std::max(worst, r.error);
      list.push_back({{"name", r.name},
                      {"zeros_before", r.zeros_before},
                      {"zeros_after", r.zeros_after},
                      {"zeros", r.zeros},
                      {"zeros_kept", r.kept},
                      {"zeros_created", r.created},
                      {"error", r.error}});
    }
    s.out << reports.size() << " linears merged";
    if (zeros == 0) s.out << "; they had no zeros";
    else if (kept == zeros) s.out << "; every one of their " << zeros << " zeros is kept";
    else s.out << "; " << kept << " of their " << zeros << " zeros are kept";
    s.out << " (" << fixed(100 * before, 3) << " % before, " << fixed(100 * after, 3) << " % after)\n";
    if (created > 0) s.out << created << " other weights became zero by rounding\n";
    s.out << "worst rounding error " << worst << " (squared, relative)\n"
          << "written to " << out_ << "\n";
    return {{"out", out_},        {"zeros_before", before},   {"zeros_after", after}, {"zeros", zeros},
            {"zeros_kept", kept}, {"zeros_created", created}, {"worst_error", worst}, {"linears", list}};
  }

  std::string model_, adapter_, out_;
  MergeOptions o_;
};

}  // namespace

std::unique_ptr<Command> make_merge() { return std::make_unique<Merge>(); }

}  // namespace sinter
