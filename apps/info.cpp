// sinter info: what a model is made of, and whether its tensors are sound.
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/model_facts.h"
#include "apps/parts.h"
#include "models/checkpoint.h"

namespace sinter {
namespace {

struct LinearFacts {
  std::string name, format;
  std::int64_t out = 0, in = 0;
  double bits = 0, zeros = 0;  // per weight; share
};

class Info final : public Command {
 public:
  void declare(Flags& f) override {
    f.positional("MODEL", &model_, "Model directory").alias("-m").alias("--model").alias("--model-name-or-path");
    f.flag("--verify", verify_, "Read every tensor and check it: shape, type, finite values");
  }

  Json run(Session& s) override {
    const auto model = load_model(model_);
    const Checkpoint files(model_);
    std::vector<LinearFacts> linears;
    std::vector<Linear*> all;
    model->each_linear([&](Linear& l) { all.push_back(&l); });
    for (const Linear* l : all) {
      s.log.check_stop("info");
      const FrozenWeight& w = *l->frozen();
      const double count = double(w.out_features() * w.in_features());
      linears.push_back({l->name(), format_of(w.pack()), w.out_features(), w.in_features(),
                         8 * double(stored_bytes(w)) / count, zero_share(w)});
      s.log.progress({"info", std::int64_t(linears.size()), std::int64_t(all.size())});
    }
    Json json = print(s, model->config(), linears, parameters_of(*model), files.bytes_on_disk());
    if (verify_) json["verified_tensors"] = verify(s, *model, files);
    return json;
  }

 private:
  Json print(Session& s, const ModelConfig& c, const std::vector<LinearFacts>& linears, std::int64_t parameters,
             std::uint64_t bytes) const;
  static std::int64_t verify(Session& s, CausalLM& model, const Checkpoint& files) {
    const auto used = used_tensors(model);
    const auto names = files.names();
    std::int64_t done = 0;
    for (const auto& name : names) {
      s.log.check_stop("info");
      const std::int64_t bad = first_unsound(files.tensor(name));
      require(bad < 0, ErrorCode::input, files.file_of(name), "tensor ", name,
              " holds a value that is not finite at place ", bad);
      if (!used.contains(name)) s.log.warn("tensor " + name + " is not part of the model");
      s.log.progress({"verify", ++done, std::int64_t(names.size())});
    }
    s.out << names.size() << " tensors verified\n";
    return std::int64_t(names.size());
  }
  std::string model_;
  bool verify_ = false;
};

Json Info::print(Session& s, const ModelConfig& c, const std::vector<LinearFacts>& linears, std::int64_t parameters,
                 std::uint64_t bytes) const {
  const char* const family = c.family == Family::llama ? "llama" : "opt";
  s.out << family << ", " << parameters << " parameters, " << c.layers << " layers, width " << c.hidden << ", "
        << c.heads << " heads over " << c.kv_heads << ", vocabulary " << c.vocab << ", " << c.max_positions
        << " positions, " << human_bytes(double(bytes)) << " on disk\n";
  double weights = 0, bits = 0, zeros = 0;
  std::size_t width = 6;
  for (const auto& l : linears) width = std::max(width, l.name.size());
  s.out << "linear" << std::string(width - 4, ' ') << "shape          bits/weight  zeros    format\n";
  Json list = Json::array();
  for (const auto& l : linears) {
    const double n = double(l.out * l.in);
    weights += n;
    bits += l.bits * n;
    zeros += l.zeros * n;
    char row[80];
    std::snprintf(row, sizeof row, "%6lld x %-6lld %11.3f %7.3f %%  ", static_cast<long long>(l.out),
                  static_cast<long long>(l.in), l.bits, 100 * l.zeros);
    s.out << l.name << std::string(width - l.name.size() + 2, ' ') << row << l.format << "\n";
    list.push_back({{"name", l.name},
                    {"shape", {l.out, l.in}},
                    {"format", l.format},
                    {"bits_per_weight", l.bits},
                    {"zeros", l.zeros}});
  }
  s.out << "all linears: " << std::int64_t(weights) << " weights, " << fixed(bits / weights, 3) << " bits per weight, "
        << fixed(100 * zeros / weights, 3) << " % zeros\n";
  return {
      {"architecture", family},
      {"parameters", parameters},
      {"bytes_on_disk", bytes},
      {"layers", c.layers},
      {"hidden", c.hidden},
      {"heads", c.heads},
      {"kv_heads", c.kv_heads},
      {"vocabulary", c.vocab},
      {"positions", c.max_positions},
      {"linears", list},
      {"totals",
       {{"linear_weights", std::int64_t(weights)}, {"bits_per_weight", bits / weights}, {"zeros", zeros / weights}}}};
}

}  // namespace

std::unique_ptr<Command> make_info() { return std::make_unique<Info>(); }

}  // namespace sinter
