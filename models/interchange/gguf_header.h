#pragma once
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/interchange/gguf_file.h"
#include "models/interchange/gguf_vocabulary.h"

namespace sinter {

// The header of a file to be written: metadata in the order of the calls, then the tensors.
class GgufHeader {
 public:
  void integer(std::string_view key, std::int64_t value);  // u32
  void real(std::string_view key, double value);  // f32
  void boolean(std::string_view key, bool value);
  void text(std::string_view key, std::string_view value);
  void texts(std::string_view key, std::span<const std::string> values);
  void integers(std::string_view key, std::span<const std::int32_t> values);
  void reals(std::string_view key, std::span<const float> values);
  void vocabulary(const GgufVocabulary&);

  void tensor(std::string_view name, const GgmlType&, const Shape&);
  static std::uint64_t bytes_of(const GgmlType&, const Shape&);
  // With the padding behind it; the data of the tensors follow, each padded to kGgufAlignment.
  std::string bytes() const;

 private:
  void key(std::string_view name, GgufKind);
  void array(std::string_view name, GgufKind, std::size_t count);
  std::string keys_, tensors_;
  std::uint64_t key_count_ = 0, tensor_count_ = 0, data_ = 0;
};

}  // namespace sinter
