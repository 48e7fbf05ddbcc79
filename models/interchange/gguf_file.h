#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/shape.h"

// The container: typed metadata under string keys, then tensors, each at an aligned offset. Little-endian.
//   "GGUF"  u32 version  u64 tensors  u64 keys
//   key:    string name, u32 type, value       string: u64 length, bytes     array: u32 type, u64 count, elements
//   tensor: string name, u32 rank, u64 dimensions (innermost first), u32 type, u64 offset behind the aligned header
namespace sinter {

enum class GgufKind : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, array, u64, i64, f64 };

// How ggml stores a row: in blocks of `block` values and `bytes` bytes.
struct GgmlType {
  std::uint32_t id;
  std::string_view name;
  std::int64_t block = 0, bytes = 0;  // 0: not read here
};
const GgmlType* ggml_type(std::uint32_t id);  // null for an unknown one
const GgmlType& ggml_type(std::string_view name);

class GgufFile {
 public:
  struct TensorInfo {
    const GgmlType* type;
    Shape shape;  // outermost first
    const std::byte* data;
    std::size_t bytes;
  };

  // Version 2 or 3, whole: Error(input) for a bad count, a key or tensor twice, a type that is not read, an offset that
  // does not follow from the tensors before it.
  explicit GgufFile(const std::filesystem::path&);

  const std::string& path() const { return path_; }
  std::shared_ptr<const void> keeper() const { return file_; }
  const std::map<std::string, TensorInfo, std::less<>>& tensors() const { return tensors_; }

  // Metadata. Error(input) for a key that is missing, of another type or out of range.
  bool has(std::string_view key) const { return values_.contains(key); }
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max) const;
  std::int64_t integer_or(std::string_view key, std::int64_t fallback, std::int64_t min, std::int64_t max) const;
  double number(std::string_view key) const;  // finite
  double number_or(std::string_view key, double fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::string text(std::string_view key) const;  // UTF-8
  std::string text_or(std::string_view key, std::string_view fallback) const;
  std::vector<std::string_view> texts(std::string_view key) const;  // bytes
  std::vector<std::int64_t> integers(std::string_view key) const;
  std::vector<float> numbers(std::string_view key) const;
  // Ends with "key KEY is VALUE, expected EXPECTED".
  [[noreturn]] void refuse(std::string_view key, std::string_view expected) const;

 private:
  struct Value {
    GgufKind kind, element;  // element: of an array, else as kind
    std::uint64_t count;
    std::string_view bytes;  // strings of an array with their lengths
  };
  class Cursor;
  void read_keys(Cursor&, std::uint64_t count);
  void read_tensors(Cursor&, std::uint64_t count);
  Value read_value(Cursor&, const std::string& key) const;
  const Value& value(std::string_view key) const;
  const Value& array(std::string_view key) const;
  static std::int64_t integer_at(const Value&, std::uint64_t index);
  static double number_at(const Value&, std::uint64_t index);

  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, Value, std::less<>> values_;
  std::map<std::string, TensorInfo, std::less<>> tensors_;
};

}  // namespace sinter
