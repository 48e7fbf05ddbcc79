#include "train/data/text.h"

#include <zlib.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxText = std::size_t(4) << 30;

std::string read_gzip(const fs::path& path) {
  (void)MappedFile(path);  // a missing or empty file gets its clear error
  gzFile in = gzopen(path.c_str(), "rb");
  require(in != nullptr, ErrorCode::input, path.string(), "cannot be opened");
  std::string text, chunk(1 << 20, '\0');
  int n = 0;
  while ((n = gzread(in, chunk.data(), unsigned(chunk.size()))) > 0 && text.size() < kMaxText)
    text.append(chunk, 0, std::size_t(n));
  const int end = gzclose(in);  // Z_BUF_ERROR: the file ends within the stream
  require(n == 0, ErrorCode::input, path.string(), n < 0 ? "is not a sound gzip file" : "unpacks to more than 4 GiB");
  require(end == Z_OK, ErrorCode::input, path.string(), "ends in the middle of its gzip stream");
  return text;
}

std::string read_any(const fs::path& path) {
  return path.extension() == ".gz" ? read_gzip(path) : read_text(path, kMaxText);
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

// The line on which each element of an array begins; the text is valid JSON.
std::vector<std::int64_t> element_lines(std::string_view text) {
  std::vector<std::int64_t> lines;
  std::int64_t line = 1;
  int depth = 0;
  bool quoted = false, expected = false;  // expected: an element of the outer array comes next
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    line += c == '\n';
    if (quoted) {
      i += c == '\\';
      quoted = c != '"';
      continue;
    }
    if (expected && std::string_view(" \t\r\n]").find(c) == std::string_view::npos) {
      lines.push_back(line);
      expected = false;
    }
    quoted = c == '"';
    if (c == '[' || c == '{') expected = ++depth == 1;
    if (c == ']' || c == '}') --depth;
    if (c == ',' && depth == 1) expected = true;
  }
  return lines;
}

bool blank(std::string_view s) { return s.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos; }

}  // namespace

bool holds_records(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".jsonl") || name.ends_with(".json.gz") || name.ends_with(".jsonl.gz");
}

void for_records(const fs::path& path, const std::function<bool(const std::string&, const Json&)>& f) {
  const std::string text = read_any(path);
  std::int64_t number = 0;
  if (path.extension() == ".json") {
    const Json all = parse_json(text, path.string());
    require(all.is_array() && !all.empty(), ErrorCode::input, path.string(), "is not an array of records");
    const std::vector<std::int64_t> lines = element_lines(text);
    for (const Json& record : all) {
      const std::string line = std::to_string(lines.at(std::size_t(number)));
      if (!f(path.string() + ", record " + std::to_string(++number) + " (line " + line + ")", record)) return;
    }
    return;
  }
  bool found = false;
  for (const std::string_view line : split_lines(text)) {
    ++number;
    if (blank(line)) continue;
    found = true;
    const std::string where = path.string() + ", line " + std::to_string(number);
    if (!f(where, parse_json(line, where))) return;
  }
  require(found, ErrorCode::input, path.string(), "holds no records");
}

std::vector<std::string> read_documents(const fs::path& path) {
  if (!holds_records(path)) {
    std::string text = read_any(path);
    require(!text.empty(), ErrorCode::input, path.string(), "is empty");
    return {std::move(text)};
  }
  std::vector<std::string> documents;
  for_records(path, [&](const std::string& where, const Json& record) {
    documents.push_back(JsonFields(where, record).text("text"));
    require(!documents.back().empty(), ErrorCode::input, where, "field text is empty");
    return true;
  });
  return documents;
}

std::string read_text_as_one(const fs::path& path, const TextOptions& o) {
  std::vector<std::string> parts = read_documents(path);
  std::string join = o.join.value_or(" ");
  if (o.lines && !holds_records(path)) {
    const std::string whole = std::move(parts.front());
    parts.clear();
    for (const std::string_view row : split_lines(whole)) parts.push_back(blank(row) ? "" : std::string(row) + "\n");
    join = o.join.value_or("\n\n");
  }
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) text += (i ? join : "") + parts[i];
  return text;
}

Windows consecutive_windows(const std::vector<std::int32_t>& ids, std::int64_t length) {
  Windows w;
  for (std::int64_t i = 0; i + length <= std::int64_t(ids.size()); i += length)
    w.emplace_back(ids.begin() + i, ids.begin() + i + length);
  return w;
}

Windows document_windows(const std::vector<std::string>& documents, const Tokenizer& tokenizer, std::int64_t length) {
  Windows out;
  std::vector<std::int32_t> window;
  for (const auto& d : documents) {
    const auto ids = tokenizer.encode(d, false);
    window.insert(window.end(), ids.begin(), ids.end());
    if (std::int64_t(window.size()) < length) continue;
    window.resize(std::size_t(length));
    out.push_back(std::exchange(window, {}));
  }
  return out;
}

Windows sample_windows(const std::vector<std::string>& documents, const Tokenizer& tokenizer, std::int64_t count,
                       std::int64_t length, Rng rng, std::string_view where) {
  std::vector<std::vector<std::int32_t>> ids;
  for (const auto& d : documents) ids.push_back(tokenizer.encode(d));
  std::erase_if(ids, [&](const auto& d) { return std::int64_t(d.size()) <= length; });
  if (ids.empty()) {
    std::string all;
    for (const auto& d : documents) all += d + "\n\n";
    ids.push_back(tokenizer.encode(all));
    require(std::int64_t(ids[0].size()) > length, ErrorCode::input, where, "holds ", ids[0].size(),
            " tokens, a window needs more than ", length);
  }
  Windows out;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto& d = ids[rng.below(std::uint64_t(2 * i), ids.size())];
    const auto at = std::int64_t(rng.below(std::uint64_t(2 * i + 1), d.size() - std::size_t(length)));
    out.emplace_back(d.begin() + at, d.begin() + at + length);
  }
  return out;
}

Windows read_windows(const fs::path& path, std::int64_t vocab) {
  const Json json = read_json(path);
  require(json.is_array() && !json.empty(), ErrorCode::input, path.string(), "expected a list of lists of token ids");
  Windows out;
  for (const auto& row : json) {
    require(row.is_array() && row.size() >= 2 && (out.empty() || row.size() == out[0].size()), ErrorCode::input,
            path.string(), "window ", out.size(), " is not a list of ", out.empty() ? 2 : out[0].size(),
            out.empty() ? " or more" : "", " ids");
    auto& w = out.emplace_back();
    for (const auto& id : row) {
      require(id.is_number_integer() && id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() < vocab, ErrorCode::input,
              path.string(), "window ", out.size() - 1, " holds ", id.dump(), ", which is no id below ", vocab);
      w.push_back(id.get<std::int32_t>());
    }
  }
  return out;
}

Windows read_calibration(const fs::path& path, const Tokenizer& tokenizer, std::int64_t vocab, std::int64_t count,
                         std::int64_t length, Rng rng) {
  if (path.extension() == ".json") return read_windows(path, vocab);
  return sample_windows(read_documents(path), tokenizer, count, length, rng, path.string());
}

}  // namespace sinter
