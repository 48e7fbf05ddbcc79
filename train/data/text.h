#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/random.h"
#include "models/tokenizer.h"

namespace sinter {

// Each record of a .jsonl, .json.gz or .jsonl.gz (one per line) or of a .json (an array), with its place for messages
// ("f.json, record 3 (line 17)"), until f says false. Error(input) for a file without records or with a malformed one.
void for_records(const std::filesystem::path&, const std::function<bool(const std::string& where, const Json&)>& f);

// The documents of a file: a .jsonl (field `text` per line), a .json.gz or .jsonl.gz of the same, or any other file as one
// document. Error(input) names the file and the line of an empty or malformed record.
std::vector<std::string> read_documents(const std::filesystem::path&);
bool holds_records(const std::filesystem::path&);  // by its name: .jsonl, .json.gz, .jsonl.gz

// How a file becomes one text. Rows (`lines`): row = line + newline, a blank line = the empty row, joined by `join`, which
// is what the papers do with WikiText.
struct TextOptions {
  bool lines = false;
  std::optional<std::string> join{};  // not given: "\n\n" between rows, " " between documents
};
std::string read_text_as_one(const std::filesystem::path&, const TextOptions&);

using Windows = std::vector<std::vector<std::int32_t>>;  // of equal length

// ids[0, T), ids[T, 2T), ...; the tail is dropped.
Windows consecutive_windows(const std::vector<std::int32_t>& ids, std::int64_t length);

// Windows of T ids that each begin with a document and go on with the next ones; what a window cuts off is dropped.
Windows document_windows(const std::vector<std::string>& documents, const Tokenizer&, std::int64_t length);

// `count` windows of T consecutive ids: a random document of more than T tokens, a random place in it, as SparseGPT, GPTQ
// and Wanda draw theirs. Where no document is long enough, the place is drawn in all documents joined by blank lines.
// Error(input) when there are not T + 1 tokens at all.
Windows sample_windows(const std::vector<std::string>& documents, const Tokenizer&, std::int64_t count,
                       std::int64_t length, Rng, std::string_view where);

// A .json file with a list of equal-length lists of ids below `vocab`.
Windows read_windows(const std::filesystem::path&, std::int64_t vocab);

// Calibration windows: those of a .json file as they are; any other file is text to sample from.
Windows read_calibration(const std::filesystem::path&, const Tokenizer&, std::int64_t vocab, std::int64_t count,
                         std::int64_t length, Rng);

}  // namespace sinter
