#include "models/interchange/gguf_layout.h"

#include <algorithm>

#include "models/interchange/gguf_file.h"

namespace sinter {
namespace {

struct Name {
  std::string_view gguf, hf;
};
constexpr Name kEnds[] = {
    {"token_embd.", "model.embed_tokens."}, {"output_norm.", "model.norm."}, {"output.", "lm_head."}};
constexpr Name kBlock[] = {{"attn_norm.", "input_layernorm."},    {"attn_q.", "self_attn.q_proj."},
                           {"attn_k.", "self_attn.k_proj."},      {"attn_v.", "self_attn.v_proj."},
                           {"attn_output.", "self_attn.o_proj."}, {"ffn_norm.", "post_attention_layernorm."},
                           {"ffn_gate.", "mlp.gate_proj."},       {"ffn_up.", "mlp.up_proj."},
                           {"ffn_down.", "mlp.down_proj."}};
constexpr std::string_view kGgufBlocks = "blk.", kHfBlocks = "model.layers.";

// `from` and `to` are members of Name.
std::optional<std::string> translated(std::string_view name, std::string_view Name::*from, std::string_view Name::*to,
                                      std::string_view from_blocks, std::string_view to_blocks) {
  const auto renamed = [&](const auto& table, std::string_view rest) -> std::optional<std::string> {
    for (const Name& n : table) {
      if (!rest.starts_with(n.*from)) continue;
      const std::string_view part = rest.substr((n.*from).size());
      if (part == "weight" || part == "bias") return std::string(n.*to) + std::string(part);
    }
    return std::nullopt;
  };
  if (!name.starts_with(from_blocks)) return renamed(kEnds, name);
  const std::string_view rest = name.substr(from_blocks.size());
  const auto digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  if (digits == 0 || digits > 6 || digits == rest.size() || rest[digits] != '.') return std::nullopt;
  if (digits > 1 && rest[0] == '0') return std::nullopt;
  const auto tail = renamed(kBlock, rest.substr(digits + 1));
  if (!tail) return std::nullopt;
  return std::string(to_blocks) + std::string(rest.substr(0, digits + 1)) + *tail;
}

constexpr GgmlType kTypes[] = {
    {0, "F32", 1, 4},   {1, "F16", 1, 2}, {2, "Q4_0", 32, 18}, {8, "Q8_0", 32, 34}, {14, "Q6_K", 256, 210},
    {30, "BF16", 1, 2}, {3, "Q4_1"},      {6, "Q5_0"},         {7, "Q5_1"},         {9, "Q8_1"},
    {10, "Q2_K"},       {11, "Q3_K"},     {12, "Q4_K"},        {13, "Q5_K"},        {15, "Q8_K"},
    {16, "IQ2_XXS"},    {17, "IQ2_XS"},   {18, "IQ3_XXS"},     {19, "IQ1_S"},       {20, "IQ4_NL"},
    {21, "IQ3_S"},      {22, "IQ2_S"},    {23, "IQ4_XS"},      {24, "I8"},          {25, "I16"},
    {26, "I32"},        {27, "I64"},      {28, "F64"},         {29, "IQ1_M"},       {34, "TQ1_0"},
    {35, "TQ2_0"},      {39, "MXFP4"},    {40, "NVFP4"},       {41, "Q1_0"},        {42, "Q2_0"}};

}  // namespace

std::optional<std::string> hf_name(std::string_view gguf) {
  return translated(gguf, &Name::gguf, &Name::hf, kGgufBlocks, kHfBlocks);
}
std::optional<std::string> gguf_name(std::string_view hf) {
  return translated(hf, &Name::hf, &Name::gguf, kHfBlocks, kGgufBlocks);
}

bool has_head_rows(std::string_view hf) {
  return hf.find("self_attn.q_proj") != hf.npos || hf.find("self_attn.k_proj") != hf.npos;
}

const GgmlType* ggml_type(std::uint32_t id) {
  const auto* type = std::ranges::find(kTypes, id, &GgmlType::id);
  return type == std::end(kTypes) ? nullptr : type;
}

const GgmlType& ggml_type(std::string_view name) { return *std::ranges::find(kTypes, name, &GgmlType::name); }

}  // namespace sinter
