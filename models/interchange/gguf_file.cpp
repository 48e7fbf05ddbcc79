#include "models/interchange/gguf_file.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "models/interchange/gguf_layout.h"
#include "models/unicode.h"

namespace sinter {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are taken from the file as they are");

constexpr std::size_t kLongestName = 63, kLongestKey = 65535;

template <class T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

std::size_t size_of(GgufKind kind) {
  constexpr std::size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kSizes[std::size_t(kind)];
}

// A name for messages, short and printable.
std::string shown(std::string_view text) { return unicode::replace_invalid(text.substr(0, 80)); }

}  // namespace

// Takes values from the front; nothing is believed before it is known to be there.
class GgufFile::Cursor {
 public:
  Cursor(std::string_view all, const std::string& path) : all_(all), path_(path) {}
  std::uint64_t left() const { return all_.size() - at_; }
  std::size_t position() const { return at_; }

  std::string_view take(std::uint64_t count, std::string_view what) {
    require(count <= left(), ErrorCode::input, path_, "ends inside ", what, " at byte ", at_);
    const auto bytes = all_.substr(at_, std::size_t(count));
    at_ += std::size_t(count);
    return bytes;
  }
  template <class T>
  T number(std::string_view what) {
    return load<T>(take(sizeof(T), what).data());
  }
  std::string_view text(std::string_view what) { return take(number<std::uint64_t>(what), what); }

 private:
  std::string_view all_;
  const std::string& path_;
  std::size_t at_ = 0;
};

GgufFile::GgufFile(const std::filesystem::path& path) : path_(path.string()), file_(MappedFile::open(path)) {
  Cursor c(file_->text(), path_);
  require(c.take(4, "the magic") == kGgufMagic, ErrorCode::input, path_, "does not begin with GGUF");
  const auto version = c.number<std::uint32_t>("the version");
  require(version == 0 || (version & 0xffff) != 0, ErrorCode::input, path_,
          "is big-endian, only little-endian files are read");
  require(version == 2 || version == 3, ErrorCode::input, path_, "has version ", version, ", expected 2 or 3");
  const auto tensors = c.number<std::uint64_t>("the number of tensors");
  const auto keys = c.number<std::uint64_t>("the number of keys");
  read_keys(c, keys);
  read_tensors(c, tensors);
}

void GgufFile::read_keys(Cursor& c, std::uint64_t count) {
  constexpr std::uint64_t kSmallest = 8 + 4 + 1;
  require(count <= c.left() / kSmallest, ErrorCode::input, path_, "claims ", count, " keys in ", c.left(), " bytes");
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto key = c.text("a key");
    require(!key.empty() && key.size() <= kLongestKey && unicode::is_valid(key), ErrorCode::input, path_, "key ", i,
            " is empty, too long or not UTF-8");
    const std::string name(key);
    const bool fresh = values_.emplace(name, read_value(c, shown(name))).second;
    require(fresh, ErrorCode::input, path_, "key ", shown(name), " occurs twice");
  }
}

GgufFile::Value GgufFile::read_value(Cursor& c, const std::string& key) const {
  const auto kind_of = [&](std::uint32_t id) {
    require(id <= std::uint32_t(GgufKind::f64), ErrorCode::input, path_, "key ", key, " has the unknown type ", id);
    return GgufKind(id);
  };
  const GgufKind kind = kind_of(c.number<std::uint32_t>(key));
  if (kind == GgufKind::text) return {kind, kind, 1, c.text(key)};
  if (kind != GgufKind::array) return {kind, kind, 1, c.take(size_of(kind), key)};
  const GgufKind element = kind_of(c.number<std::uint32_t>(key));
  require(element != GgufKind::array, ErrorCode::input, path_, "key ", key, " is an array of arrays");
  const auto count = c.number<std::uint64_t>(key);
  if (element != GgufKind::text) {
    require(count <= c.left() / size_of(element), ErrorCode::input, path_, "key ", key, " claims ", count,
            " elements in ", c.left(), " bytes");
    return {kind, element, count, c.take(count * size_of(element), key)};
  }
  require(count <= c.left() / 8, ErrorCode::input, path_, "key ", key, " claims ", count, " texts in ", c.left(),
          " bytes");
  Cursor behind = c;
  for (std::uint64_t i = 0; i < count; ++i) behind.text(key);
  return {kind, element, count, c.take(behind.position() - c.position(), key)};
}

namespace {

Shape read_shape(const std::vector<std::uint64_t>& inner_first, const std::string& path, const std::string& name) {
  constexpr std::uint64_t kMost = std::uint64_t(1) << 60;
  std::uint64_t total = 1;
  Shape shape;
  for (auto d = inner_first.rbegin(); d != inner_first.rend(); ++d) {
    require(0 < *d && *d <= kMost / total, ErrorCode::input, path, "tensor ", name,
            " has a dimension of 0 or too many values");
    total *= *d;
    shape.push(std::int64_t(*d));
  }
  return shape;
}

const GgmlType* read_type(std::uint32_t id, const std::string& path, const std::string& name) {
  const GgmlType* type = ggml_type(id);
  require(type != nullptr, ErrorCode::input, path, "tensor ", name, " has the unknown type ", id);
  require(type->block > 0, ErrorCode::input, path, "tensor ", name, " has type ", type->name,
          ", which is not read: expected F32, F16, BF16, Q4_0, Q8_0 or Q6_K");
  return type;
}

}  // namespace

void GgufFile::read_tensors(Cursor& c, std::uint64_t count) {
  constexpr std::uint64_t kSmallest = 8 + 4 + 4 + 8;
  require(count <= c.left() / kSmallest, ErrorCode::input, path_, "claims ", count, " tensors in ", c.left(), " bytes");
  const std::uint64_t alignment = std::uint64_t(integer_or(kGgufAlignmentKey, kGgufAlignment, 1, 1 << 30));
  if (!std::has_single_bit(alignment)) refuse(kGgufAlignmentKey, "a power of two");
  std::vector<TensorInfo*> in_order;
  std::uint64_t end = 0;  // of the tensors so far, behind the header
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto raw = c.text("the name of a tensor");
    const std::string name = shown(raw);
    require(raw.size() <= kLongestName && unicode::is_valid(raw), ErrorCode::input, path_, "tensor ", name,
            ": the name is longer than ", kLongestName, " bytes or not UTF-8");
    const auto rank = c.number<std::uint32_t>(name);
    require(rank <= 4, ErrorCode::input, path_, "tensor ", name, " has ", rank, " dimensions, expected at most 4");
    std::vector<std::uint64_t> inner_first(rank);
    for (auto& d : inner_first) d = c.number<std::uint64_t>(name);
    TensorInfo t{nullptr, read_shape(inner_first, path_, name), nullptr, 0};
    t.type = read_type(c.number<std::uint32_t>(name), path_, name);
    const std::int64_t width = rank > 0 ? t.shape[-1] : 1;
    require(width % t.type->block == 0, ErrorCode::input, path_, "tensor ", name, " has rows of ", width,
            " values, type ", t.type->name, " needs a multiple of ", t.type->block);
    t.bytes = std::size_t(t.shape.numel() / t.type->block) * std::size_t(t.type->bytes);
    const auto offset = c.number<std::uint64_t>(name);
    require(offset == end, ErrorCode::input, path_, "tensor ", name, " is at offset ", offset, ", expected ", end);
    require(t.bytes <= file_->bytes().size(), ErrorCode::input, path_, "tensor ", name, " needs ", t.bytes,
            " bytes, more than the file has");
    end = aligned(offset + t.bytes, alignment);
    require(end <= file_->bytes().size() + alignment, ErrorCode::input, path_, "ends before tensor ", name);
    const auto [at, fresh] = tensors_.emplace(name, t);
    require(fresh, ErrorCode::input, path_, "tensor ", name, " occurs twice");
    in_order.push_back(&at->second);
  }
  std::uint64_t at = aligned(c.position(), alignment);
  for (TensorInfo* t : in_order) {
    require(at <= file_->bytes().size() && t->bytes <= file_->bytes().size() - at, ErrorCode::input, path_,
            "ends inside a tensor: ", file_->bytes().size(), " bytes, at least ", at + t->bytes, " expected");
    t->data = file_->bytes().data() + at;
    at = aligned(at + t->bytes, alignment);
  }
}

const GgufFile::Value& GgufFile::value(std::string_view key) const {
  const auto it = values_.find(key);
  require(it != values_.end(), ErrorCode::input, path_, "key ", key, " is missing");
  return it->second;
}

const GgufFile::Value& GgufFile::array(std::string_view key) const {
  const Value& v = value(key);
  if (v.kind != GgufKind::array) refuse(key, "an array");
  return v;
}

std::int64_t GgufFile::integer_at(const Value& v, std::uint64_t i) {
  const char* at = v.bytes.data() + i * size_of(v.element);
  switch (v.element) {
    case GgufKind::u8: return load<std::uint8_t>(at);
    case GgufKind::i8: return load<std::int8_t>(at);
    case GgufKind::u16: return load<std::uint16_t>(at);
    case GgufKind::i16: return load<std::int16_t>(at);
    case GgufKind::u32: return load<std::uint32_t>(at);
    case GgufKind::i32: return load<std::int32_t>(at);
    case GgufKind::u64: return std::int64_t(std::min(load<std::uint64_t>(at), std::uint64_t(INT64_MAX)));
    default: return load<std::int64_t>(at);
  }
}

double GgufFile::number_at(const Value& v, std::uint64_t i) {
  const char* at = v.bytes.data() + i * size_of(v.element);
  return v.element == GgufKind::f32 ? double(load<float>(at)) : load<double>(at);
}

namespace {

bool is_integer(GgufKind k) { return k <= GgufKind::i32 || k == GgufKind::u64 || k == GgufKind::i64; }
bool is_number(GgufKind k) { return k == GgufKind::f32 || k == GgufKind::f64; }

}  // namespace

std::int64_t GgufFile::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  const Value& v = value(key);
  if (!is_integer(v.kind)) refuse(key, "an integer");
  const std::int64_t i = integer_at(v, 0);
  if (i < min || i > max) refuse(key, std::to_string(min) + " to " + std::to_string(max));
  return i;
}

std::int64_t GgufFile::integer_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                                  std::int64_t max) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double GgufFile::number(std::string_view key) const {
  const Value& v = value(key);
  if (!is_number(v.kind) || !std::isfinite(number_at(v, 0))) refuse(key, "a finite number");
  return number_at(v, 0);
}

double GgufFile::number_or(std::string_view key, double fallback) const { return has(key) ? number(key) : fallback; }

bool GgufFile::boolean_or(std::string_view key, bool fallback) const {
  if (!has(key)) return fallback;
  const Value& v = value(key);
  if (v.kind != GgufKind::boolean) refuse(key, "true or false");
  return v.bytes[0] != 0;
}

std::string GgufFile::text(std::string_view key) const {
  const Value& v = value(key);
  if (v.kind != GgufKind::text || !unicode::is_valid(v.bytes)) refuse(key, "a text in UTF-8");
  return std::string(v.bytes);
}

std::string GgufFile::text_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? text(key) : std::string(fallback);
}

std::vector<std::string_view> GgufFile::texts(std::string_view key) const {
  const Value& v = array(key);
  if (v.element != GgufKind::text) refuse(key, "an array of texts");
  std::vector<std::string_view> out;
  out.reserve(std::size_t(v.count));
  Cursor c(v.bytes, path_);
  for (std::uint64_t i = 0; i < v.count; ++i) out.push_back(c.text(key));
  return out;
}

std::vector<std::int64_t> GgufFile::integers(std::string_view key) const {
  const Value& v = array(key);
  if (!is_integer(v.element)) refuse(key, "an array of integers");
  std::vector<std::int64_t> out(std::size_t(v.count));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = integer_at(v, i);
  return out;
}

std::vector<float> GgufFile::numbers(std::string_view key) const {
  const Value& v = array(key);
  if (!is_number(v.element)) refuse(key, "an array of numbers");
  std::vector<float> out(std::size_t(v.count));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = float(number_at(v, i));
  return out;
}

void GgufFile::refuse(std::string_view key, std::string_view expected) const {
  const Value& v = value(key);
  std::string found = "of another type";
  if (v.kind == GgufKind::text) found = '"' + shown(v.bytes) + '"';
  else if (v.kind == GgufKind::array) found = "an array of " + std::to_string(v.count);
  else if (is_integer(v.kind)) found = std::to_string(integer_at(v, 0));
  else if (is_number(v.kind)) found = std::to_string(number_at(v, 0));
  fail(ErrorCode::input, path_, "key ", shown(key), " is ", found, ", expected ", expected);
}

}  // namespace sinter
