#pragma once
#include <filesystem>
#include <string>

namespace sinter {

// "500000000", "512M", "4G" (powers of 1024) -> bytes. Error(usage) names `flag`.
double parse_bytes(const std::string& flag, const std::string& text);

// Bytes that this process can still take: what the system has free or can free, or what its control group (version 2 or 1)
// leaves, if that is less. `root` is where /proc and /sys are; infinite where nothing can be read.
double available_bytes(const std::filesystem::path& root = "/");

}  // namespace sinter
