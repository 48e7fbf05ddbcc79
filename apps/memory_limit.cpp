#include "apps/memory_limit.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "core/file.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

// The files of the system may be missing, and hold "max" for no limit.
std::optional<std::string> text_of(const fs::path& file) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return std::nullopt;
  try {
    return read_text(file, 1 << 20);
  } catch (const Error&) { return std::nullopt; }
}

std::optional<double> number_of(const fs::path& file) {
  const auto text = text_of(file);
  double value = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc()) return std::nullopt;
  return value;
}

// The number behind a word at the beginning of a line.
std::optional<double> field_of(const fs::path& file, const std::string& word) {
  std::istringstream lines(text_of(file).value_or(""));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream parts(line);
    std::string name;
    double value = 0;
    if (parts >> name >> value && name == word) return value;
  }
  return std::nullopt;
}

// What one group leaves: its limit less what it uses; pages of files that nobody used lately can be dropped.
double left_in(const fs::path& group, const char* limit, const char* usage, const char* inactive) {
  const auto most = number_of(group / limit), used = number_of(group / usage);
  if (!most || !used) return INFINITY;
  return std::max(0., *most - *used + field_of(group / "memory.stat", inactive).value_or(0));
}

// The least of a group and of those above it. In a container the path may be one of the host's; then `top` is the group.
double left_along(const fs::path& top, const std::string& path, const char* limit, const char* usage,
                  const char* inactive) {
  double least = left_in(top, limit, usage, inactive);
  fs::path group = top;
  for (const auto& part : fs::path(path).relative_path()) {
    group /= part;
    least = std::min(least, left_in(group, limit, usage, inactive));
  }
  return least;
}

}  // namespace

double parse_bytes(const std::string& flag, const std::string& text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  std::string unit(rest, end);
  for (const std::string_view tail : {"B", "i"})
    if (unit.size() > 1 && unit.ends_with(tail)) unit.pop_back();
  const auto power = std::string_view("BKMGT").find(unit.empty() ? 'B' : char(std::toupper(unit[0])));
  require(error == std::errc() && number > 0 && unit.size() <= 1 && power != std::string_view::npos, ErrorCode::usage,
          flag, "expected bytes such as 500000000, 512M or 4G, found \"", text, "\"");
  return number * std::pow(1024., double(power));
}

double available_bytes(const fs::path& root) {
  const auto free = field_of(root / "proc/meminfo", "MemAvailable:");
  double least = free ? 1024 * *free : INFINITY;
  std::istringstream groups(text_of(root / "proc/self/cgroup").value_or(""));
  for (std::string line; std::getline(groups, line);) {  // number:controllers:path
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string kind = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (kind.empty())
      least =
          std::min(least, left_along(root / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file"));
    if (kind == "memory")
      least = std::min(least, left_along(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes",
                                         "memory.usage_in_bytes", "total_inactive_file"));
  }
  return least;
}

}  // namespace sinter
