#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sinter {

// The protobuf wire format, as far as SentencePiece models need it: a message is a list of (number, type, value).
struct ProtoField {
  enum class Type : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };
  std::uint32_t number = 0;
  Type type = Type::varint;
  std::uint64_t value = 0;  // varint, fixed64, fixed32
  std::string_view bytes;  // strings and nested messages; points into the message
};

class ProtoReader {
 public:
  // `where` names the file in errors: a field that is cut short or malformed is an Error(input).
  ProtoReader(std::string_view message, std::string_view where) : rest_(message), where_(where) {}
  std::optional<ProtoField> next();

  // The value of a field, which must have the given type.
  std::int64_t integer(const ProtoField& field) const;
  float real(const ProtoField& field) const;
  std::string_view bytes(const ProtoField& field) const;

 private:
  std::uint64_t varint();
  std::string_view take(std::uint64_t count);
  void expect(const ProtoField& field, ProtoField::Type type) const;

  std::string_view rest_, where_;
};

class ProtoWriter {
 public:
  void integer(std::uint32_t number, std::int64_t value);
  void real(std::uint32_t number, float value);
  void bytes(std::uint32_t number, std::string_view value);
  const std::string& message() const { return out_; }

 private:
  void varint(std::uint64_t value);
  void tag(std::uint32_t number, ProtoField::Type type);
  std::string out_;
};

}  // namespace sinter
