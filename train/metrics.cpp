#include "train/metrics.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

bool belongs(const std::string& line, std::int64_t last_step) {
  try {
    const Json json = parse_json(line, "metrics");
    return JsonFields("metrics", json).integer("step", 0) <= last_step;
  } catch (const Error&) {  // a line that was cut off, and whatever else somebody put there
    return false;
  }
}

std::string first_lines(const fs::path& path, std::int64_t last_step) {
  std::string kept, line;
  if (last_step < 0 || !fs::exists(path)) return kept;
  std::istringstream in(read_text(path));
  while (std::getline(in, line) && belongs(line, last_step)) kept += line + "\n";
  return kept;
}

}  // namespace

MetricsFile::MetricsFile(const fs::path& path, std::int64_t last_step) : path_(path) {
  if (path.empty()) return;
  write_text_atomic(path, first_lines(path, last_step));
  out_.open(path, std::ios::binary | std::ios::app);
  require(out_.is_open(), ErrorCode::io, path.string(), "cannot be opened for writing");
}

void MetricsFile::write(const StepMetrics& m) {
  if (path_.empty()) return;
  Json line{{"step", m.step}};
  if (m.update)
    line.update(Json{{"loss", m.update->loss}, {"lr", m.update->lr}, {"gradient_norm", m.update->gradient_norm}});
  line["tokens"] = m.tokens;
  if (m.validation) line["validation_nll"] = *m.validation;
  line["seconds"] = m.seconds;
  line["tokens_per_second"] = m.tokens_per_second;
  out_ << line.dump() << std::endl;
  require(bool(out_), ErrorCode::io, path_.string(), "cannot be written: the disk is full or the file is gone");
}

}  // namespace sinter
