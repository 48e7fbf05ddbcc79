#pragma once
#include "test/zip_writer.h"

// Pieces of the pickle that torch.save writes, so that tests can get one of them wrong.
namespace sinter::test {

inline std::string pickled(std::int64_t n) {
  std::string code = "\x8a\x08";
  put(code, std::uint64_t(n), 8);
  return code;
}
inline std::string pickled(const std::vector<std::int64_t>& all) {
  std::string code = "(";
  for (const auto n : all) code += pickled(n);
  return code + "t";
}
inline std::string pickled(const std::string& s) {
  std::string code = "X";
  put(code, s.size(), 4);
  return code + s;
}

inline const std::string kFloatStorage = "ctorch\nFloatStorage\n", kParameter = "ctorch._utils\n_rebuild_parameter\n";

// _rebuild_tensor_v2(("storage", type, key, "cpu", count), offset, sizes, strides, False, None)
inline std::string pickled_tensor(std::int64_t count, std::int64_t offset, const std::vector<std::int64_t>& sizes,
                                  const std::vector<std::int64_t>& strides, const std::string& type = kFloatStorage,
                                  const std::string& key = "0") {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + pickled(std::string("storage")) + type + pickled(key) +
         pickled(std::string("cpu")) + pickled(count) + "tQ" + pickled(offset) + pickled(sizes) + pickled(strides) +
         "\x89NtR";
}
// {"w": value}
inline std::string pickled_state(const std::string& value) {
  return "\x80\2}" + pickled(std::string("w")) + value + "s.";
}

}  // namespace sinter::test
