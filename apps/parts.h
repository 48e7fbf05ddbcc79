#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/causal_lm.h"

// Small things that several sub-commands share.
namespace sinter {

class Flags;

// The positional MODEL, with the names that other programs have for it; `more` goes on from "a .gguf file".
void declare_model(Flags&, std::string& model, const std::string& more = "");

// "1,2,3" -> ids. Error(usage) names `flag`.
std::vector<std::int32_t> parse_ids(std::string_view flag, std::string_view text);
// A JSON file with a list of ids, alone or under the key `ids`. Error(input).
std::vector<std::int32_t> read_ids(const std::filesystem::path&);
void check_ids(std::span<const std::int32_t> ids, std::int64_t vocab, ErrorCode code, std::string_view where);

std::string unescape(std::string_view flag, std::string_view text);  // \n \t \r \\ in values typed in a shell
std::optional<std::string> join_text(const std::optional<std::string>& flag);  // of --join, unescaped

// The soft prompt of a file or directory, checked against the model in `model_dir`; an empty Tensor for an empty path.
Tensor soft_prompt_for(const std::string& path, const CausalLM&, const std::filesystem::path& model_dir);

// Error(usage) when a directory could not be created there later; a file is only probed for being writable.
void check_output_directory(const std::filesystem::path&);
void check_output_file(const std::filesystem::path&);

// What config.json must say of how the linears are stored now: other programs must neither take codes for weights nor look
// for codes that are gone. For copy_model_files.
Json storage_changes(CausalLM&, const std::filesystem::path& model_dir);

std::string fixed(double value, int digits);
std::string human_bytes(double bytes);  // "1.2 MB"
std::int64_t peak_rss_bytes();
std::int64_t default_seq_len(std::int64_t wish, const ModelConfig&,
                             std::int64_t prompt_rows);  // min(wish, what the positions leave)

}  // namespace sinter
