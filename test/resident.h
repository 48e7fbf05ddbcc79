#pragma once
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "core/tensor.h"

namespace sinter::test {

// KiB in memory of the mapping that a tensor's bytes lie in; -1 when there is none.
inline long resident_kib(const Tensor& t) {
  const auto page = std::uintptr_t(::sysconf(_SC_PAGESIZE)), at = reinterpret_cast<std::uintptr_t>(t.raw());
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  for (bool here = false; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) here = begin <= at / page * page && at < end;
    else if (here && line.starts_with("Rss:")) return std::stol(line.substr(4));
  }
  return -1;
}

}  // namespace sinter::test
