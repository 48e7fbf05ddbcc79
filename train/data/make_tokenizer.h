#pragma once
#include <filesystem>
#include <string_view>

namespace sinter {

// How the special tokens are laid out: LLaMA has <unk> 0, <s> 1, </s> 2; OPT has <s> 0, <pad> 1, </s> 2, <unk> 3 and
// begins and ends a text with </s>.
enum class TokenizerStyle { llama, opt };

// Ids of a made tokenizer, as the model's config.json needs them.
struct MadeTokenizer {
  int size = 0;
  int unk = 0, bos = 1, eos = 2;
  int pad = -1;  // LLaMA has none
};

// Learns a byte pair vocabulary (Sennrich et al. 2016) of exactly `pieces` pieces from UTF-8 text: special tokens, 256
// bytes, the most frequent characters, and the merges of the most frequent pairs within words (a word begins with a
// space; digits stand alone, as in LLaMA). Deterministic. Writes tokenizer.model (SentencePiece BPE with byte fallback)
// and tokenizer_config.json to `out_dir`; both are for Tokenizer::load and for other programs.
// Error(usage): too few pieces for specials and bytes. Error(input): a text too small for so many pieces.
MadeTokenizer make_tokenizer(std::string_view text, int pieces, const std::filesystem::path& out_dir,
                             TokenizerStyle style = TokenizerStyle::llama);

}  // namespace sinter
