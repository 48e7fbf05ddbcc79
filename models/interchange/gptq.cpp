#include "models/interchange/gptq.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/basic_kernels.h"
#include "models/interchange/bit_words.h"
#include "models/interchange/foreign_tensors.h"
#include "models/regex_split.h"

namespace sinter {
namespace {

struct Rule {
  int bits = 4;
  std::int64_t group = -1;
};

// GPTQModel's "dynamic": the first pattern that a name begins with decides; "-:" in front leaves the linear as it was.
struct Override {
  Regex pattern;
  Rule rule;
};

std::string first_of(const JsonFields& f, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (f.has(name)) return name;
  return *names.begin();
}

Rule read_rule(const JsonFields& f, const Rule& fallback) {
  Rule r = fallback;
  const std::string bits = first_of(f, {"bits", "w_bit"}), group = first_of(f, {"group_size", "q_group_size"});
  r.bits = int(f.integer_or(bits, fallback.bits, 0, 64));
  if (r.bits != 2 && r.bits != 3 && r.bits != 4 && r.bits != 8) f.refuse(bits, "2, 3, 4 or 8");
  r.group = f.integer_or(group, fallback.group, -1, 1 << 24);
  if (r.group == 0) f.refuse(group, "-1 or a positive number");
  return r;
}

class Gptq final : public ForeignFormat {
 public:
  Gptq(const Json& config, const std::string& where, const Checkpoint& files, std::vector<std::string>& warnings);
  std::optional<Packed> packed(const Checkpoint&, const std::string& linear) const override;
  std::span<const std::string_view> parts() const override {
    static constexpr std::string_view kParts[] = {"qweight", "qzeros", "scales", "g_idx"};
    return kParts;
  }

 private:
  Rule rule_for(const std::string& linear) const;
  void compare_label(const Checkpoint&, const std::string& where, bool symmetric, std::vector<std::string>& warnings);
  Rule rule_;
  std::vector<Override> overrides_;
  int version_ = 1;
};

// "format" of GPTQModel, "checkpoint_format" of AutoGPTQ; absent: version 1.
int read_version(const JsonFields& f) {
  const std::string key = first_of(f, {"checkpoint_format", "format"}), format = f.text_or(key, "gptq");
  if (f.boolean_or("is_marlin_format", false)) f.refuse("is_marlin_format", "false: write it again in format gptq");
  if (format != "gptq" && format != "gptq_v2")
    f.refuse(key, "gptq or gptq_v2: write the model again in one of these formats with the program that made it");
  return format == "gptq_v2" ? 2 : 1;
}

Gptq::Gptq(const Json& config, const std::string& where, const Checkpoint& files, std::vector<std::string>& warnings) {
  const JsonFields f(where, config);
  version_ = read_version(f);
  rule_ = read_rule(f, {4, -1});
  if (f.has("dynamic")) {
    const JsonFields dynamic = f.object("dynamic");
    for (const auto& [key, value] : f.at("dynamic").items()) {
      const bool marked = key.starts_with("-:") || key.starts_with("+:");
      const std::string pattern = marked ? key.substr(2) : key;
      const Rule rule = key.starts_with("-:") ? rule_ : read_rule(dynamic.object(key), rule_);
      overrides_.push_back({Regex("^(?:" + pattern + ")", where + ": field dynamic"), rule});
    }
  }
  if (!f.has("sym")) warnings.push_back(where + ": field sym is missing; a symmetric grid is assumed");
  compare_label(files, where, f.boolean_or("sym", true), warnings);
}

Rule Gptq::rule_for(const std::string& linear) const {
  for (const Override& o : overrides_)
    if (std::ranges::any_of(o.pattern.spans(linear), &TextSpan::match)) return o.rule;
  return rule_;
}

// How many of the zeros, as stored, are 2^(b−1) − 1 (a symmetric grid in version 1), 2^(b−1) (in version 2), 2^b − 1.
struct StoredZeros {
  std::int64_t all = 0, middle_less_one = 0, middle = 0, ones = 0;
};

// A symmetric model shows its version: every zero is in the middle, or one below it.
void Gptq::compare_label(const Checkpoint& files, const std::string& where, bool symmetric,
                         std::vector<std::string>& warnings) {
  constexpr std::string_view kEnd = ".qzeros";
  StoredZeros n;
  for (const auto& name : files.names()) {
    if (!name.ends_with(kEnd)) continue;
    const int bits = rule_for(name.substr(0, name.size() - kEnd.size())).bits;
    const Tensor words = words_of(files, name);
    const Tensor zeros = unpack_words(words, 1, words.shape()[1] * 32 / bits, bits);
    for (const unsigned z : zeros.data<std::uint8_t>()) {
      ++n.all;
      n.middle += z == 1u << (bits - 1);
      n.middle_less_one += z == (1u << (bits - 1)) - 1;
      n.ones += z == (1u << bits) - 1;
    }
  }
  if (n.all == 0) return;
  const int shown = n.middle == n.all ? 2 : n.middle_less_one == n.all ? 1 : 0;
  if (shown && shown != version_) {
    warnings.push_back(where + ": says GPTQ version " + std::to_string(version_) +
                       ", but the zeros of all linears are those of version " + std::to_string(shown) +
                       "; they are read as version " + std::to_string(shown));
    version_ = shown;
  }
  if (symmetric && !shown) warnings.push_back(where + ": says sym, but qzeros holds an asymmetric grid, which is used");
  if (version_ == 1 && n.ones > 0 && !shown)
    warnings.push_back(where + ": " + std::to_string(n.ones) + " of " + std::to_string(n.all) +
                       " zeros are 0, which version 1 cannot say for certain: programs disagree about them");
}

// GPTQModel also packs sides that are no multiples of 32; then g_idx says how many inputs there are.
std::int64_t inputs_of(const Checkpoint& files, const std::string& linear, std::int64_t codes) {
  const std::string name = linear + ".g_idx";
  return files.has(name) ? std::clamp<std::int64_t>(files.tensor(name).numel(), 1, codes) : codes;
}

std::optional<Packed> Gptq::packed(const Checkpoint& files, const std::string& linear) const {
  const std::string name = linear + ".qweight";
  if (!files.has(name)) return std::nullopt;
  const Rule rule = rule_for(linear);
  const Tensor words = words_of(files, name);
  const std::int64_t out = words.shape()[1], in = inputs_of(files, linear, words.shape()[0] * 32 / rule.bits);
  if (words_for(in, rule.bits, WordLayout::dense) != words.shape()[0])
    refuse_tensor(files, name, std::to_string(rule.bits) + "-bit codes for " + std::to_string(in) + " inputs");
  GridLinear w{rule.bits, rule.group < 0 ? in : std::min(rule.group, in), {}, {}, {}, {}};
  const std::int64_t groups = (in + w.group - 1) / w.group;
  w.scale = scales_of(files, linear + ".scales", out, groups, true);
  Tensor zeros = unpack_words(
      words_of(files, linear + ".qzeros", {groups, words_for(out, rule.bits, WordLayout::dense)}), 1, out, rule.bits);
  if (version_ == 1)
    for (std::uint8_t& z : zeros.mutable_data<std::uint8_t>()) z = std::uint8_t((z + 1u) & ((1u << rule.bits) - 1));
  w.zero = transposed_bytes(zeros);
  w.group_of = group_index_of(files, linear + ".g_idx", in, groups);
  w.codes = transposed_bytes(unpack_words(words, 0, in, rule.bits));
  return to_packed(std::move(w));
}

}  // namespace

std::unique_ptr<ForeignFormat> read_gptq(const Json& config, const std::string& where, const Checkpoint& files,
                                         std::vector<std::string>& warnings) {
  return std::make_unique<Gptq>(config, where, files, warnings);
}

bool fits_gptq(std::int64_t out, std::int64_t in) { return out % 32 == 0 && in % 32 == 0; }

NamedTensors gptq_tensors(const std::string& linear, const GridLinear& w, int version) {
  const std::int64_t in = w.codes.shape()[1], out = w.codes.shape()[0], groups = w.zero.shape()[1];
  require(fits_gptq(out, in), ErrorCode::usage, linear, "GPTQ needs sides that are multiples of 32, found ",
          w.codes.shape());
  Tensor zeros = transposed_bytes(w.zero);
  if (version == 1)
    for (std::uint8_t& z : zeros.mutable_data<std::uint8_t>()) z = std::uint8_t((z - 1u) & ((1u << w.bits) - 1));
  Tensor scales = Tensor::empty({groups, out}, DType::f16), index = Tensor::empty({in}, DType::i32);
  const Tensor from = cast(w.scale, DType::f32);
  const auto s = from.data<float>();
  const auto to = scales.mutable_data<f16>();
  for (std::int64_t i = 0; i < out; ++i)
    for (std::int64_t g = 0; g < groups; ++g) to[std::size_t(g * out + i)] = to_f16(s[std::size_t(i * groups + g)]);
  const auto g_idx = index.mutable_data<std::int32_t>();
  for (std::int64_t j = 0; j < in; ++j)
    g_idx[std::size_t(j)] = w.group_of.empty() ? std::int32_t(j / w.group) : w.group_of[std::size_t(j)];
  return {{linear + ".qweight", pack_words(transposed_bytes(w.codes), 0, w.bits)},
          {linear + ".qzeros", pack_words(zeros, 1, w.bits)},
          {linear + ".scales", scales},
          {linear + ".g_idx", index}};
}

}  // namespace sinter
