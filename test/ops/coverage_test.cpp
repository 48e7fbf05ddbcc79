#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>

#include "test/check.h"
#include "test/ops/op_table.h"

using namespace sinter::test;

namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Every `static constexpr std::string_view name = "..."` in ops/.
std::set<std::string> ops_in_the_sources() {
  const std::regex declaration(R"re(static constexpr std::string_view name = "([^"]+)")re");
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(SINTER_SOURCE_DIR) / "ops")) {
    if (!entry.is_regular_file()) continue;
    const std::string text = read(entry.path());
    for (std::sregex_iterator it(text.begin(), text.end(), declaration), end; it != end; ++it)
      names.insert((*it)[1].str());
  }
  return names;
}

}  // namespace

TEST_CASE("Every op has a row in the op table, and every row has an op") {
  const std::set<std::string> ops = ops_in_the_sources();
  CHECK(ops.contains("rms_norm"));  // the scan finds something
  std::set<std::string> rows;
  for (const OpRow& row : all_rows()) {
    std::istringstream names(row.name.substr(0, row.name.find(',')));
    for (std::string name; names >> name;) rows.insert(name);
  }
  for (const std::string& op : ops) CHECK_MESSAGE(rows.contains(op), "no row in test/ops for the op ", op);
  for (const std::string& row : rows) CHECK_MESSAGE(ops.contains(row), "the row ", row, " names no op");
}
