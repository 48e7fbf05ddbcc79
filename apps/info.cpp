// sinter info: what a model is made of, and whether its tensors are sound.
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/model_facts.h"
#include "apps/parts.h"
#include "apps/targets.h"
#include "models/checkpoint.h"

namespace sinter {
namespace {

struct LinearFacts {
  std::string name, format;
  std::int64_t out = 0, in = 0;
  BitShares bits;
  double zeros = 0;  // share
};

class Info final : public Command {
 public:
  void declare(Flags& f) override {
    declare_model(f, model_);
    f.flag("--verify", verify_, "Read every tensor and check it: shape, type, finite values");
    f.option("--target", "transformers|vllm|llama.cpp", &target_,
             "What that program accepts of this model, why not, and the export to use")
        .one_of({"transformers", "vllm", "llama.cpp"});
  }

  Json run(Session& s) override {
    const auto model = load_model(model_, &s.log);
    const Checkpoint files(model_);
    std::vector<LinearFacts> linears;
    std::vector<Linear*> all;
    model->each_linear([&](Linear& l) { all.push_back(&l); });
    for (const Linear* l : all) {
      s.log.check_stop("info");
      const FrozenWeight& w = *l->frozen();
      const Packed stored = w.pack();
      linears.push_back({l->name(), format_of(stored), w.out_features(), w.in_features(),
                         bits_of(stored, w.out_features() * w.in_features()), zero_share(w)});
      s.log.progress({"info", std::int64_t(linears.size()), std::int64_t(all.size())});
    }
    Json json = print(s, model->config(), linears, parameters_of(*model), files.bytes_on_disk());
    if (verify_) json["verified_tensors"] = verify(s, *model, files);
    if (!target_.empty()) {
      const auto choices = choices_for(target_, target_facts(*model, model_));
      s.out << describe_choices(target_, choices);
      json["target"] = choices_json(target_, choices);
    }
    return json;
  }

 private:
  Json print(Session& s, const ModelConfig& c, const std::vector<LinearFacts>& linears, std::int64_t parameters,
             std::uint64_t bytes) const;
  static Json print_linears(Session& s, const std::vector<LinearFacts>& linears);
  static Json print_totals(Session& s, const std::vector<LinearFacts>& linears);
  static std::int64_t verify(Session& s, CausalLM& model, const Checkpoint& files) {
    auto used = used_tensors(model);
    for (const auto part : files.foreign_parts()) {
      const auto add = [&](const std::string& linear) { used.insert(linear + "." + std::string(part)); };
      model.each_linear([&](Linear& l) { add(l.name()); });
      model.each_matrix([&](const std::string& name, Matrix&) { add(name.substr(0, name.size() - 7)); });
    }
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
  std::string model_, target_;
  bool verify_ = false;
};

Json json_of(const BitShares& b) {
  return {{"values", b.values}, {"mask", b.mask}, {"scales_and_zeros", b.grid}, {"order", b.order}};
}

Json Info::print(Session& s, const ModelConfig& c, const std::vector<LinearFacts>& linears, std::int64_t parameters,
                 std::uint64_t bytes) const {
  const char* const family = c.family == Family::llama ? "llama" : "opt";
  s.out << family << ", " << parameters << " parameters, " << c.layers << " layers, width " << c.hidden << ", "
        << c.heads << " heads over " << c.kv_heads << ", vocabulary " << c.vocab << ", " << c.max_positions
        << " positions, " << human_bytes(double(bytes)) << " on disk\n";
  return {{"architecture", family},
          {"parameters", parameters},
          {"bytes_on_disk", bytes},
          {"layers", c.layers},
          {"hidden", c.hidden},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"vocabulary", c.vocab},
          {"positions", c.max_positions},
          {"linears", print_linears(s, linears)},
          {"totals", print_totals(s, linears)}};
}

// Bits per weight, and where they go.
Json Info::print_linears(Session& s, const std::vector<LinearFacts>& linears) {
  std::size_t width = 6;
  for (const auto& l : linears) width = std::max(width, l.name.size());
  s.out << "linear" << std::string(width - 4, ' ')
        << "shape          bits/weight = values + mask + grid + order     zeros  format\n";
  Json list = Json::array();
  for (const auto& l : linears) {
    char row[120];
    std::snprintf(row, sizeof row, "%6lld x %-6lld %11.3f  %7.3f %6.3f %6.3f  %6.3f %7.3f %%  ",
                  static_cast<long long>(l.out), static_cast<long long>(l.in), l.bits.all(), l.bits.values, l.bits.mask,
                  l.bits.grid, l.bits.order, 100 * l.zeros);
    s.out << l.name << std::string(width - l.name.size() + 2, ' ') << row << l.format << "\n";
    list.push_back({{"name", l.name},
                    {"shape", {l.out, l.in}},
                    {"format", l.format},
                    {"bits_per_weight", l.bits.all()},
                    {"zeros", l.zeros},
                    {"bits", json_of(l.bits)}});
  }
  return list;
}

Json Info::print_totals(Session& s, const std::vector<LinearFacts>& linears) {
  double weights = 0, zeros = 0;
  BitShares bits;
  for (const auto& l : linears) {
    const double n = double(l.out * l.in);
    weights += n;
    bits.add(l.bits, n);
    zeros += l.zeros * n;
  }
  bits.divide(weights);
  zeros /= weights;
  s.out << "all linears: " << std::int64_t(weights) << " weights, " << fixed(bits.all(), 3)
        << " bits per weight (values " << fixed(bits.values, 3) << ", mask " << fixed(bits.mask, 3)
        << ", scales and zeros " << fixed(bits.grid, 3) << ", order " << fixed(bits.order, 3) << "), "
        << fixed(100 * zeros, 3) << " % zeros\n";
  return {{"linear_weights", std::int64_t(weights)},
          {"bits_per_weight", bits.all()},
          {"zeros", zeros},
          {"bits", json_of(bits)}};
}

}  // namespace

std::unique_ptr<Command> make_info() { return std::make_unique<Info>(); }

}  // namespace sinter
