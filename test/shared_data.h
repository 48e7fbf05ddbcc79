#pragma once
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

// Real models and texts that do not ship with the repository. SINTER_SHARED names their folder; without it the folder
// `shared` beside the checkout is tried. Tests that need them say "skipped" where they are missing.
namespace sinter::test {

inline std::optional<std::filesystem::path> shared_data(const std::string& relative) {
  const char* named = std::getenv("SINTER_SHARED");
  const std::filesystem::path root = named ? named : std::filesystem::path(SINTER_SOURCE_DIR) / ".." / "shared";
  const auto path = root / "data" / relative;
  if (std::filesystem::exists(path)) return path;
  return std::nullopt;
}

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(SINTER_SOURCE_DIR) / "test" / "golden" / name;
}

}  // namespace sinter::test

// Binds `path`, or leaves the test case with a visible note.
#define SINTER_SHARED_OR_SKIP(path, relative)                      \
  const auto path##_found = ::sinter::test::shared_data(relative); \
  if (!path##_found) {                                             \
    MESSAGE("skipped: ", relative, " is not here");                \
    return;                                                        \
  }                                                                \
  const auto& path = *path##_found
