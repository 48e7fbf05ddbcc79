#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sinter {

// Adds special tokens to the tokenizer files of a directory, found in a text as it is, with ids that count up from
// `first`. That must be Tokenizer::size(): Hugging Face's tokenizers number added tokens themselves, from there on. They
// go into tokenizer.json where that exists, else into added_tokens.json, and in any case into tokenizer_config.json.
// Error(input) for files that cannot take them.
void add_special_tokens(const std::filesystem::path& dir, std::int32_t first, const std::vector<std::string>& names);

}  // namespace sinter
