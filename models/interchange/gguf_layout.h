#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// What readers and writers of a LLaMA model in GGUF share.
namespace sinter {

inline constexpr std::string_view kGgufMagic = "GGUF";
inline constexpr std::string_view kGgufAlignmentKey = "general.alignment";
inline constexpr std::int64_t kGgufAlignment = 32;
inline constexpr std::string_view kGgufRopeFactors = "rope_freqs.weight";  // f32 [d / 2], beside the named ones below

constexpr std::uint64_t aligned(std::uint64_t offset, std::uint64_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

// "blk.3.attn_q.weight" <-> "model.layers.3.self_attn.q_proj.weight"; nothing for a tensor that a LLaMA does not have.
std::optional<std::string> hf_name(std::string_view gguf);
std::optional<std::string> gguf_name(std::string_view hf);

// The rows of q_proj and k_proj. Hugging Face rotates row p of a head with row p + d/2, llama.cpp row 2p with 2p + 1:
// row 2p + a there is row a·d/2 + p here, a = 0, 1. `head` is the width d of a head; 0 leaves all rows in place.
struct HeadRows {
  std::int64_t head = 0;
  std::int64_t hf_row(std::int64_t gguf) const {
    if (head == 0) return gguf;
    const std::int64_t in_head = gguf % head;
    return gguf - in_head + in_head % 2 * (head / 2) + in_head / 2;
  }
  std::int64_t gguf_row(std::int64_t hf) const {
    if (head == 0) return hf;
    const std::int64_t in_head = hf % head, half = head / 2;
    return hf - in_head + in_head % half * 2 + in_head / half;
  }
};
bool has_head_rows(std::string_view hf);  // is it q_proj or k_proj, its weight or bias?

}  // namespace sinter
