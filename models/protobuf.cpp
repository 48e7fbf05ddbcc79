#include "models/protobuf.h"

#include <bit>

#include "core/error.h"

namespace sinter {

std::uint64_t ProtoReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(take(1)[0]);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  fail(ErrorCode::input, where_, "protobuf number of more than ten bytes");
}

std::string_view ProtoReader::take(std::uint64_t count) {
  require(count <= rest_.size(), ErrorCode::input, where_, "protobuf data is cut short: ", count,
          " bytes expected, found ", rest_.size());
  const std::string_view out = rest_.substr(0, static_cast<std::size_t>(count));
  rest_.remove_prefix(out.size());
  return out;
}

std::optional<ProtoField> ProtoReader::next() {
  if (rest_.empty()) return std::nullopt;
  const std::uint64_t tag = varint();
  ProtoField field;
  require(tag >> 3 != 0 && tag >> 3 < (1u << 29), ErrorCode::input, where_, "protobuf field number ", tag >> 3);
  field.number = static_cast<std::uint32_t>(tag >> 3);
  const auto little_endian = [&](std::uint64_t bytes) {
    std::uint64_t value = 0;
    int shift = 0;
    for (const char c : take(bytes)) {
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(c)) << shift;
      shift += 8;
    }
    return value;
  };
  switch (tag & 7) {
    case 0: field.value = varint(); break;
    case 1: field.value = little_endian(8); break;
    case 2: field.bytes = take(varint()); break;
    case 5: field.value = little_endian(4); break;
    default: fail(ErrorCode::input, where_, "protobuf field ", field.number, " has the unknown wire type ", tag & 7);
  }
  field.type = static_cast<ProtoField::Type>(tag & 7);
  return field;
}

void ProtoReader::expect(const ProtoField& field, ProtoField::Type type) const {
  require(field.type == type, ErrorCode::input, where_, "protobuf field ", field.number, " has wire type ",
          static_cast<int>(field.type), ", expected ", static_cast<int>(type));
}

std::int64_t ProtoReader::integer(const ProtoField& field) const {
  expect(field, ProtoField::Type::varint);
  return static_cast<std::int64_t>(field.value);
}

float ProtoReader::real(const ProtoField& field) const {
  expect(field, ProtoField::Type::fixed32);
  return std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
}

std::string_view ProtoReader::bytes(const ProtoField& field) const {
  expect(field, ProtoField::Type::bytes);
  return field.bytes;
}

void ProtoWriter::varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out_ += static_cast<char>(value | 0x80);
  out_ += static_cast<char>(value);
}

void ProtoWriter::tag(std::uint32_t number, ProtoField::Type type) {
  varint(static_cast<std::uint64_t>(number) << 3 | static_cast<std::uint64_t>(type));
}

void ProtoWriter::integer(std::uint32_t number, std::int64_t value) {
  tag(number, ProtoField::Type::varint);
  varint(static_cast<std::uint64_t>(value));
}

void ProtoWriter::real(std::uint32_t number, float value) {
  tag(number, ProtoField::Type::fixed32);
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) out_ += static_cast<char>(bits >> shift & 0xFF);
}

void ProtoWriter::bytes(std::uint32_t number, std::string_view value) {
  tag(number, ProtoField::Type::bytes);
  varint(value.size());
  out_ += value;
}

}  // namespace sinter
