#include "train/data/calibration.h"

#include <optional>

#include "core/error.h"
#include "train/data/python_random.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

Ids draw_window(PythonRandom& random, const Ids& ids, std::int64_t length) {
  const auto at = random.between(0, std::int64_t(ids.size()) - length - 1);
  return {ids.begin() + at, ids.begin() + at + length};
}

// Documents are tokenised when they are drawn, and once.
Windows from_documents(const std::vector<std::string>& documents, const Tokenizer& tokenizer, std::int64_t count,
                       std::int64_t length, PythonRandom random, std::string_view where) {
  std::vector<std::optional<Ids>> drawn(documents.size());  // no ids where there are too few
  std::size_t too_short = 0;
  Windows out;
  while (std::int64_t(out.size()) < count) {
    const auto i = std::size_t(random.below(documents.size()));
    if (!drawn[i]) {
      drawn[i] = tokenizer.encode(documents[i]);
      if (std::int64_t(drawn[i]->size()) <= length) {
        drawn[i] = Ids();
        ++too_short;
      }
    }
    if (!drawn[i]->empty()) out.push_back(draw_window(random, *drawn[i], length));
    require(too_short < documents.size(), ErrorCode::input, where, "has no document of more than ", length, " tokens");
  }
  return out;
}

Windows from_text(const Ids& ids, std::int64_t count, std::int64_t length, PythonRandom random,
                  std::string_view where) {
  require(std::int64_t(ids.size()) > length, ErrorCode::input, where, "holds ", ids.size(),
          " tokens, a window needs more than ", length);
  Windows out;
  for (std::int64_t i = 0; i < count; ++i) out.push_back(draw_window(random, ids, length));
  return out;
}

}  // namespace

CalibrationStyle parse_calibration_style(std::string_view name) {
  if (name == "sparsegpt") return CalibrationStyle::sparsegpt;
  if (name == "wanda") return CalibrationStyle::wanda;
  if (name == "gptq") return CalibrationStyle::gptq;
  fail(ErrorCode::usage, "calibration", "\"", name, "\" is none of sparsegpt, wanda, gptq");
}

Windows calibration_like(CalibrationStyle style, const fs::path& path, const Tokenizer& tokenizer, std::int64_t count,
                         std::int64_t length, std::uint64_t seed) {
  require(path.extension() != ".json", ErrorCode::usage, path.string(),
          "holds windows that are taken as they are; the published scripts draw theirs from .jsonl, .json.gz or text");
  const PythonRandom random(seed);
  if (holds_records(path)) return from_documents(read_documents(path), tokenizer, count, length, random, path.string());
  const std::string join = style == CalibrationStyle::gptq ? "\n\n" : " ";
  return from_text(tokenizer.encode(read_text_as_one(path, {.lines = true, .join = join})), count, length, random,
                   path.string());
}

}  // namespace sinter
