#include "models/interchange/awq.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "models/interchange/bit_words.h"
#include "models/interchange/foreign_tensors.h"
#include "models/interchange/grid_linear.h"

namespace sinter {
namespace {

// i32 [m, O/8] -> u8 [m, O]: the nibble of output 8k + j stands at kNibble[j] of word k.
Tensor unpack_nibbles(const Tensor& words) {
  constexpr std::array<int, 8> kNibble = {0, 4, 1, 5, 2, 6, 3, 7};
  Tensor stored = unpack_words(words, 1, words.shape()[1] * 8, 4);
  const auto code = stored.mutable_data<std::uint8_t>();
  for (std::size_t word = 0; word < code.size(); word += 8) {
    std::array<std::uint8_t, 8> in_order{};
    for (std::size_t j = 0; j < 8; ++j) in_order[j] = code[word + std::size_t(kNibble[j])];
    std::ranges::copy(in_order, code.begin() + std::ptrdiff_t(word));
  }
  return stored;
}

class Awq final : public ForeignFormat {
 public:
  explicit Awq(std::int64_t group) : group_(group) {}
  std::optional<Packed> packed(const Checkpoint& files, const std::string& linear) const override {
    const std::string name = linear + ".qweight";
    if (!files.has(name)) return std::nullopt;
    const Tensor words = words_of(files, name);
    const std::int64_t in = words.shape()[0], out = words.shape()[1] * 8;
    GridLinear w{4, group_ < 0 ? in : std::min(group_, in), {}, {}, {}, {}};
    const std::int64_t groups = (in + w.group - 1) / w.group;
    w.scale = scales_of(files, linear + ".scales", out, groups, true);
    w.zero = transposed_bytes(unpack_nibbles(words_of(files, linear + ".qzeros", {groups, out / 8})));
    w.codes = transposed_bytes(unpack_nibbles(words));
    return to_packed(std::move(w));
  }
  std::span<const std::string_view> parts() const override {
    static constexpr std::string_view kParts[] = {"qweight", "qzeros", "scales"};
    return kParts;
  }

 private:
  std::int64_t group_;
};

}  // namespace

std::unique_ptr<ForeignFormat> read_awq(const Json& config, const std::string& where) {
  const JsonFields f(where, config);
  std::string version = f.text_or("version", f.text_or("format", "gemm"));
  for (char& c : version) c = char(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  if (version != "gemm")
    f.refuse(f.has("version") ? "version" : "format", "gemm: convert the model to it with the program that made it");
  const char* const bits = f.has("bits") ? "bits" : "w_bit";
  if (f.integer_or(bits, 4, 0, 64) != 4) f.refuse(bits, "4");
  const char* const group = f.has("group_size") ? "group_size" : "q_group_size";
  const std::int64_t g = f.integer_or(group, 128, -1, 1 << 24);
  if (g == 0) f.refuse(group, "-1 or a positive number");
  return std::make_unique<Awq>(g);
}

}  // namespace sinter
