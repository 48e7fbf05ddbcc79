// core/safetensors.h needs nothing else of this repository. Copy it beside this file and build:
//   c++ -std=c++17 safetensors-example.cpp -o safetensors-example
//   ./safetensors-example write out.safetensors
//   ./safetensors-example list out.safetensors
#define SINTER_SAFETENSORS_IMPLEMENTATION
#include "safetensors.h"

#include <cstdio>

namespace st = sinter::safetensors;

static void list(const char* path) {
  const st::Reader file = st::Reader::open(path);  // maps and checks the whole header
  for (const auto& [key, value] : file.metadata()) std::printf("# %s = %s\n", key.c_str(), value.c_str());
  for (const st::TensorInfo& t : file.tensors()) {
    std::printf("%-24s %-5s [", t.name.c_str(), std::string(st::dtype_name(t.dtype)).c_str());
    for (std::size_t i = 0; i < t.shape.size(); ++i) std::printf(i ? ", %llu" : "%llu", (unsigned long long)t.shape[i]);
    std::printf("]  %llu bytes\n", (unsigned long long)t.bytes());
  }
}

static void write(const char* path) {
  st::TensorInfo table, scalar;
  table.name = "table", table.dtype = st::Dtype::F32, table.shape = {2, 3};
  scalar.name = "scalar", scalar.dtype = st::Dtype::I64;
  const float rows[2][3] = {{1, 2, 3}, {4, 5, 6}};
  const long long value = 42;
  st::Writer out(path, {table, scalar}, {{"written_by", "safetensors-example"}});
  for (const auto& row : rows) out.append("table", row, sizeof row);  // in pieces: nothing has to be in memory whole
  out.append("scalar", &value, sizeof value);
  out.commit();  // until here there is no file of this name
}

int main(int argc, char** argv) {
  const std::string command = argc == 3 ? argv[1] : "";
  try {
    if (command == "list") return list(argv[2]), 0;
    if (command == "write") return write(argv[2]), 0;
  } catch (const st::Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
  std::fprintf(stderr, "usage: safetensors-example list|write FILE\n");
  return 2;
}
