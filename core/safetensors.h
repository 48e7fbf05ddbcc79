// safetensors.h: reads and writes .safetensors files. One header, C++17, the standard library and POSIX, little-endian.
// In exactly one .cpp file:   #define SINTER_SAFETENSORS_IMPLEMENTATION
//                             #include "safetensors.h"
//
// A file is: N (8 bytes, little-endian), N bytes of JSON {"name": {"dtype", "shape", "data_offsets"}, ...} padded with
// spaces, then the data. The reader maps the file and accepts it only if the whole header is sound: strict UTF-8 and
// JSON, no duplicate names, shapes that match their bytes, tensors that cover the data without hole or overlap, nothing
// missing and nothing left over. The writer's bytes equal the reference implementation's (metadata keys sorted).
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sinter::safetensors {

// Spelled as in the file; the order is the writer's: it stores the last of these first.
// clang-format off
enum class Dtype : std::uint8_t {
  BOOL, F4, F6_E2M3, F6_E3M2, U8, I8, F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ,
  I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64
};
// clang-format on
std::string_view dtype_name(Dtype dtype);
unsigned dtype_bits(Dtype dtype);

struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::F32;
  std::vector<std::uint64_t> shape;  // row-major; empty for a scalar; at most 64 dimensions
  std::uint64_t begin = 0, end = 0;  // byte range in the data, which starts right after the header
  std::uint64_t bytes() const { return end - begin; }
};

// file: missing or not a sound safetensors file. system: writing failed. misuse: the request makes no sense.
enum class Cause { file, system, misuse };
class Failure : public std::runtime_error {
 public:
  Failure(Cause cause, const std::string& file, const std::string& reason)
      : std::runtime_error(file + ": " + reason), cause_(cause), reason_(reason) {}
  Cause cause() const { return cause_; }
  const std::string& reason() const { return reason_; }  // what() without the file's name

 private:
  Cause cause_;
  std::string reason_;
};

// An opened and checked file. Copies share the mapping. A file cut short by somebody else while mapped raises SIGBUS.
class Reader {
 public:
  static Reader open(const std::string& path);
  // Bytes in memory, kept alive by `owner` if there is one; `name` is for messages.
  static Reader parse(const void* data, std::size_t size, std::string name, std::shared_ptr<const void> owner = {});

  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in the order of the data
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const TensorInfo* find(std::string_view name) const;  // null when absent
  const TensorInfo& at(std::string_view name) const;  // throws when absent
  // First byte of the tensor; files of old writers may leave it unaligned. Valid while a Reader or owner() lives.
  const std::byte* data(const TensorInfo& tensor) const { return data_ + tensor.begin; }
  const std::shared_ptr<const void>& owner() const { return owner_; }
  const std::string& name() const { return name_; }
  const std::string& warning() const { return warning_; }  // the first oddity that is no error, or empty

 private:
  void read_header(std::string_view text);
  void check_layout(std::uint64_t header, std::uint64_t size);
  std::string name_, warning_;
  std::shared_ptr<const void> owner_;
  const std::byte* data_ = nullptr;
  std::vector<TensorInfo> tensors_;
  std::vector<std::size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

using Metadata = std::map<std::string, std::string>;

// The first 8 + N bytes of a file. Sorts `tensors` into file order and sets their begin and end.
// "format": "pt" is always part of the metadata: readers in the wild insist on it.
std::string make_header(std::vector<TensorInfo>& tensors, Metadata metadata = {});

// Writes a file whose tensors are declared first and delivered later, in any order and in pieces, so that a large model
// never is in memory. It appears under its name, complete and synced, by commit(); until then it is a temporary file
// beside it, removed by the destructor. A device such as /dev/null is written directly.
class Writer {
 public:
  Writer(std::string path, std::vector<TensorInfo> tensors, Metadata metadata = {});  // begin and end are ignored
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in file order
  void append(std::string_view name, const void* data, std::size_t bytes);  // the next bytes of one tensor
  void commit();  // throws if bytes are missing

 private:
  struct File {
    int descriptor = -1;
    std::string temporary;  // removed unless it is empty
    ~File();
  };
  void put(const void* data, std::size_t bytes, std::uint64_t offset);
  std::string path_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::size_t> by_name_;
  std::vector<std::uint64_t> written_;
  std::uint64_t header_ = 0;
  File file_;
};

}  // namespace sinter::safetensors

#ifdef SINTER_SAFETENSORS_IMPLEMENTATION
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>

namespace sinter::safetensors {
namespace detail {

static_assert(sizeof(std::size_t) == 8 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "64-bit little-endian only");
inline constexpr std::uint64_t kMaxHeader = 100'000'000;
inline constexpr std::size_t kMaxRank = 64, kMaxDepth = 64;
inline constexpr struct {
  std::string_view name;
  unsigned bits;
} kDtypes[] = {{"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
               {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
               {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
               {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}};

// A name from a file, fit for one line of a message.
inline std::string quoted(std::string_view name) {
  std::string out(name.substr(0, 120));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return '"' + out + (name.size() > 120 ? "...\"" : "\"");
}

[[noreturn]] inline void refuse(Cause cause, const std::string& file, std::string_view tensor,
                                const std::string& reason) {
  throw Failure(cause, file, "tensor " + quoted(tensor) + ": " + reason);
}

[[noreturn]] inline void incomplete(const std::string& file, std::uint64_t size, std::uint64_t needed) {
  throw Failure(Cause::file, file,
                "file is " + std::to_string(size) + " bytes, header needs " + std::to_string(needed) +
                    ": the download is incomplete");
}

[[noreturn]] inline void stopped(const std::string& file, const std::string& what) {
  throw Failure(Cause::system, file, what + std::strerror(errno));
}

// Length of the UTF-8 sequence at p (RFC 3629: no overlong form, no surrogate, at most U+10FFFF), or 0.
inline std::size_t utf8_length(const unsigned char* p, const unsigned char* end) {
  const auto tail = [&](int i) { return end - p > i && (p[i] & 0xC0) == 0x80; };
  if (*p < 0x80) return 1;
  if (*p < 0xC2 || *p > 0xF4 || !tail(1)) return 0;
  if (*p < 0xE0) return 2;
  if ((*p == 0xE0 && p[1] < 0xA0) || (*p == 0xED && p[1] > 0x9F) || !tail(2)) return 0;
  if (*p < 0xF0) return 3;
  return (*p == 0xF0 && p[1] < 0x90) || (*p == 0xF4 && p[1] > 0x8F) || !tail(3) ? 0 : 4;
}

inline bool valid_utf8(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* end = p + text.size();
  for (std::size_t n; p < end; p += n)
    if ((n = utf8_length(p, end)) == 0) return false;
  return true;
}

// Pull parser for the header's JSON (RFC 8259, nothing more). The text is known to be valid UTF-8.
class Json {
 public:
  Json(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  [[noreturn]] void error(const std::string& reason) const {
    throw Failure(Cause::file, file_, "header, byte " + std::to_string(at_) + ": " + reason);
  }
  char peek() {
    while (one_of(" \t\n\r")) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) { return peek() == c ? (++at_, true) : false; }
  void expect(char c) {
    if (!take(c)) error(std::string("expected '") + c + "'");
  }
  void end() {
    if (peek(), at_ < text_.size()) error("unexpected text after the JSON object");
  }
  bool word(std::string_view w) { return peek(), text_.substr(at_, w.size()) == w ? (at_ += w.size(), true) : false; }

  template <class F>
  void object(F&& on_key) {
    expect('{');
    if (take('}')) return;
    do {
      std::string key = string();
      expect(':');
      on_key(std::move(key));
    } while (take(','));
    expect('}');
  }
  template <class F>
  void array(F&& on_element) {
    expect('[');
    if (take(']')) return;
    do on_element();
    while (take(','));
    expect(']');
  }

  std::string string() {
    expect('"');
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) error("string without end");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (static_cast<unsigned char>(c) < 0x20) error("control character in a string");
      if (c == '\\') escape(out);
      else out += c;
    }
  }

  // A JSON integer in 0 .. 2^64-1: no sign, no leading zero, no fraction, no exponent.
  std::uint64_t integer() {
    peek();
    std::uint64_t value = 0;
    const std::size_t first = at_;
    for (; digit(); ++at_) {
      const unsigned d = static_cast<unsigned>(text_[at_] - '0');
      if (value > (std::numeric_limits<std::uint64_t>::max() - d) / 10) error("integer does not fit 64 bits");
      value = value * 10 + d;
    }
    if (at_ == first) error("expected a non-negative integer");
    if (at_ - first > 1 && text_[first] == '0') error("integer with a leading zero");
    if (one_of(".eE")) error("expected an integer, found a fraction or an exponent");
    return value;
  }

  void skip_value(std::size_t depth = 0) {
    if (depth > kMaxDepth) error("nested too deeply");
    const char c = peek();
    if (c == '{') object([&](const std::string&) { skip_value(depth + 1); });
    else if (c == '[') array([&] { skip_value(depth + 1); });
    else if (c == '"') string();
    else if (c == '-' || digit()) skip_number();
    else if (!word("true") && !word("false") && !word("null")) error("expected a value");
  }

 private:
  bool one_of(std::string_view set) const { return at_ < text_.size() && set.find(text_[at_]) != set.npos; }
  bool digit() const { return one_of("0123456789"); }
  void digits() {
    if (!digit()) error("expected a digit");
    while (digit()) ++at_;
  }
  void skip_number() {
    if (one_of("-")) ++at_;
    one_of("0") ? void(++at_) : digits();
    if (one_of(".")) ++at_, digits();
    if (!one_of("eE")) return;
    if (++at_; one_of("+-")) ++at_;
    digits();
  }
  unsigned hex4() {
    unsigned value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const std::size_t d = at_ < text_.size() ? std::string_view("0123456789abcdefABCDEF").find(text_[at_]) : 99;
      if (d > 21) error("expected four hexadecimal digits");
      value = value * 16 + static_cast<unsigned>(d < 16 ? d : d - 6);
    }
    return value;
  }
  void escape(std::string& out) {
    const char c = at_ < text_.size() ? text_[at_++] : '\0';
    const std::size_t i = std::string_view("\"\\/bfnrt").find(c);
    if (i != std::string_view::npos) return void(out += "\"\\/\b\f\n\r\t"[i]);
    if (c != 'u') error("unknown escape in a string");
    unsigned u = hex4();
    if (u >= 0xD800 && u < 0xDC00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const unsigned low = hex4();
      u = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00) : u;
    }
    if (u >= 0xD800 && u < 0xE000) error("half of a surrogate pair in a string");
    if (u < 0x80) return void(out += static_cast<char>(u));
    const int tail = u < 0x800 ? 1 : u < 0x10000 ? 2 : 3;
    out += static_cast<char>((tail == 1 ? 0xC0 : tail == 2 ? 0xE0 : 0xF0) | (u >> (6 * tail)));
    for (int k = tail - 1; k >= 0; --k) out += static_cast<char>(0x80 | ((u >> (6 * k)) & 0x3F));
  }

  std::string_view text_;
  const std::string& file_;
  std::size_t at_ = 0;
};

inline TensorInfo parse_tensor(Json& json, std::string name, std::string& warning) {
  TensorInfo t;
  t.name = std::move(name);
  std::vector<std::uint64_t> offsets;
  bool dtype = false, shape = false, range = false;
  const auto once = [&](bool& seen, const char* field) {
    if (std::exchange(seen, true)) json.error("tensor " + quoted(t.name) + ": field " + field + " occurs twice");
  };
  json.object([&](const std::string& key) {
    if (key == "dtype") {
      once(dtype, "dtype");
      const std::string text = json.string();
      const auto* found = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](auto& d) { return d.name == text; });
      if (found == std::end(kDtypes)) json.error("tensor " + quoted(t.name) + ": unknown dtype " + quoted(text));
      t.dtype = static_cast<Dtype>(found - kDtypes);
    } else if (key == "shape") {
      once(shape, "shape");
      json.array([&] {
        if (t.shape.size() == kMaxRank) json.error("tensor " + quoted(t.name) + ": more than 64 dimensions");
        t.shape.push_back(json.integer());
      });
    } else if (key == "data_offsets") {
      once(range, "data_offsets");
      json.array([&] {
        if (offsets.size() == 2) json.error("tensor " + quoted(t.name) + ": data_offsets has more than two integers");
        offsets.push_back(json.integer());
      });
    } else {
      if (warning.empty()) warning = "tensor " + quoted(t.name) + ": unknown field " + quoted(key) + " ignored";
      json.skip_value();
    }
  });
  if (!dtype || !shape || offsets.size() != 2)
    json.error("tensor " + quoted(t.name) + " needs dtype, shape and two data_offsets");
  t.begin = offsets[0], t.end = offsets[1];
  return t;
}

// Bytes of a tensor of this dtype and shape; the reason in `error` when there is no such tensor. Stricter than the
// reference: the product of the dimensions other than zero must fit a signed integer, so that consumers can use it.
inline std::uint64_t byte_size(const TensorInfo& t, const char*& error) {
  std::uint64_t count = 1, bits = 0;
  bool empty = false;
  for (const std::uint64_t d : t.shape) {
    empty = empty || d == 0;
    const bool overflow = d != 0 && __builtin_mul_overflow(count, d, &count);
    if (overflow || count > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) error = "shape overflows 63 bits";
  }
  if (__builtin_mul_overflow(empty ? 0 : count, std::uint64_t{dtype_bits(t.dtype)}, &bits))
    error = "size overflows 64 bits";
  if (bits % 8 != 0) error = "size is not a whole number of bytes";
  return bits / 8;
}

// Indices sorted by name; a name that occurs twice is refused.
inline std::vector<std::size_t> index_names(const std::vector<TensorInfo>& tensors, Cause cause,
                                            const std::string& file) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return tensors[a].name < tensors[b].name; });
  const auto twice = std::adjacent_find(order.begin(), order.end(),
                                        [&](auto a, auto b) { return tensors[a].name == tensors[b].name; });
  if (twice != order.end()) throw Failure(cause, file, "tensor " + quoted(tensors[*twice].name) + " occurs twice");
  return order;
}

inline const TensorInfo* lookup(const std::vector<TensorInfo>& tensors, const std::vector<std::size_t>& by_name,
                                std::string_view name) {
  const auto it =
      std::lower_bound(by_name.begin(), by_name.end(), name, [&](auto i, auto n) { return tensors[i].name < n; });
  return it != by_name.end() && tensors[*it].name == name ? &tensors[*it] : nullptr;
}

inline std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto i = std::string_view("\"\\\b\f\n\r\t").find(c);
    if (i != std::string_view::npos) (out += '\\') += "\"\\bfnrt"[i];
    else if (static_cast<unsigned char>(c) < 0x20) ((out += "\\u00") += "01"[c >> 4]) += "0123456789abcdef"[c & 15];
    else out += c;
  }
  return out += '"';
}

}  // namespace detail

std::string_view dtype_name(Dtype dtype) { return detail::kDtypes[static_cast<int>(dtype)].name; }
unsigned dtype_bits(Dtype dtype) { return detail::kDtypes[static_cast<int>(dtype)].bits; }

Reader Reader::open(const std::string& path) {
  const auto refuse = [&](const std::string& reason) { throw Failure(Cause::file, path, reason); };
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) refuse(std::string("cannot be opened: ") + std::strerror(errno));
  struct stat facts {};
  const bool known = ::fstat(file, &facts) == 0;
  const auto size = static_cast<std::size_t>(facts.st_size);
  const bool regular = known && S_ISREG(facts.st_mode);
  void* memory = regular && size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0) : nullptr;
  const int error = errno;
  ::close(file);
  if (!regular) refuse(S_ISDIR(facts.st_mode) ? "is a directory, expected a file" : "is not a regular file");
  if (memory == MAP_FAILED) refuse(std::string("cannot be mapped: ") + std::strerror(error));
  std::shared_ptr<const void> owner(memory, [size](void* p) {
    if (p) ::munmap(p, size);
  });
  return parse(memory, size, path, std::move(owner));
}

Reader Reader::parse(const void* data, std::size_t size, std::string name, std::shared_ptr<const void> owner) {
  Reader r;
  r.name_ = std::move(name);
  r.owner_ = std::move(owner);
  const std::string_view text(static_cast<const char*>(data), size);
  if (text.substr(0, 42) == "version https://git-lfs.github.com/spec/v1")
    throw Failure(Cause::file, r.name_, "is a Git LFS pointer, not the file itself: run git lfs pull");
  std::uint64_t header = 0;
  if (size < 8) detail::incomplete(r.name_, size, 8);
  std::memcpy(&header, data, 8);
  if (header > detail::kMaxHeader)
    throw Failure(Cause::file, r.name_,
                  "header length " + std::to_string(header) + " exceeds 100000000: not a safetensors file");
  if (header > size - 8) detail::incomplete(r.name_, size, 8 + header);
  r.read_header(text.substr(8, header));
  r.check_layout(8 + header, size);
  r.data_ = static_cast<const std::byte*>(data) + 8 + header;
  return r;
}

void Reader::read_header(std::string_view text) {
  if (text.empty() || text[0] != '{') throw Failure(Cause::file, name_, "header does not begin with '{'");
  if (!detail::valid_utf8(text)) throw Failure(Cause::file, name_, "header is not valid UTF-8");
  detail::Json json(text, name_);
  bool described = false;
  json.object([&](std::string key) {
    if (key != "__metadata__") return tensors_.push_back(detail::parse_tensor(json, std::move(key), warning_));
    if (std::exchange(described, true)) json.error("__metadata__ occurs twice");
    if (json.word("null")) return;
    json.object([&](std::string k) {
      const auto [at, fresh] = metadata_.try_emplace(std::move(k), json.string());
      if (!fresh) json.error("__metadata__: key " + detail::quoted(at->first) + " occurs twice");
    });
  });
  json.end();
}

// `header` is the offset of the data in a file of `size` bytes.
void Reader::check_layout(std::uint64_t header, std::uint64_t size) {
  std::sort(tensors_.begin(), tensors_.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  by_name_ = detail::index_names(tensors_, Cause::file, name_);
  std::uint64_t covered = 0;
  for (const TensorInfo& t : tensors_) {
    const auto refuse = [&](const std::string& reason) { detail::refuse(Cause::file, name_, t.name, reason); };
    if (t.begin != covered || t.end < t.begin)
      refuse("data_offsets [" + std::to_string(t.begin) + ", " + std::to_string(t.end) + "], expected to begin at " +
             std::to_string(covered) + " (no hole, no overlap)");
    const char* error = nullptr;
    const std::uint64_t bytes = detail::byte_size(t, error);
    if (error) refuse(error);
    if (bytes != t.bytes())
      refuse("shape takes " + std::to_string(bytes) + " bytes, data_offsets give " + std::to_string(t.bytes()));
    covered = t.end;
  }
  std::uint64_t expected = 0;
  if (__builtin_add_overflow(header, covered, &expected)) expected = std::numeric_limits<std::uint64_t>::max();
  if (expected > size) detail::incomplete(name_, size, expected);
  if (expected < size)
    throw Failure(Cause::file, name_,
                  "file is " + std::to_string(size) + " bytes, header needs only " + std::to_string(expected));
}

const TensorInfo* Reader::find(std::string_view name) const { return detail::lookup(tensors_, by_name_, name); }

const TensorInfo& Reader::at(std::string_view name) const {
  if (const TensorInfo* t = find(name)) return *t;
  throw Failure(Cause::file, name_, "has no tensor " + detail::quoted(name));
}

std::string make_header(std::vector<TensorInfo>& tensors, Metadata metadata) {
  const std::string where = "safetensors header";
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(b.dtype, a.name) < std::tie(a.dtype, b.name);
  });
  metadata["format"] = "pt";
  std::string json = "{\"__metadata__\":{";
  for (const auto& [key, value] : metadata) {
    if (json.back() != '{') json += ',';
    json += detail::json_string(key) + ':' + detail::json_string(value);
  }
  json += '}';
  std::uint64_t at = 0;
  for (TensorInfo& t : tensors) {
    const char* error = t.name == "__metadata__" ? "is a reserved name" : nullptr;
    const std::uint64_t bytes = detail::byte_size(t, error);
    t.begin = at;
    if (__builtin_add_overflow(at, bytes, &at)) error = "size overflows 64 bits";
    if (t.shape.size() > detail::kMaxRank) error = "more than 64 dimensions";
    if (error) detail::refuse(Cause::misuse, where, t.name, error);
    t.end = at;
    json += ',' + detail::json_string(t.name) + ":{\"dtype\":\"";
    (json += dtype_name(t.dtype)) += "\",\"shape\":[";
    for (std::size_t i = 0; i < t.shape.size(); ++i) json += (i ? "," : "") + std::to_string(t.shape[i]);
    json += "],\"data_offsets\":[" + std::to_string(t.begin) + ',' + std::to_string(t.end) + "]}";
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > detail::kMaxHeader) throw Failure(Cause::misuse, where, "exceeds 100000000 bytes");
  if (!detail::valid_utf8(json)) throw Failure(Cause::misuse, where, "a name or a metadata value is not valid UTF-8");
  detail::index_names(tensors, Cause::misuse, where);
  const std::uint64_t length = json.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + json;
}

Writer::Writer(std::string path, std::vector<TensorInfo> tensors, Metadata metadata)
    : path_(std::move(path)), tensors_(std::move(tensors)) {
  const std::string header = make_header(tensors_, std::move(metadata));
  by_name_ = detail::index_names(tensors_, Cause::misuse, path_);
  written_.resize(tensors_.size());
  header_ = header.size();
  struct stat facts {};
  const bool device = ::stat(path_.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode);
  for (int i = 0; file_.descriptor < 0; ++i) {
    const std::string name = device ? path_ : path_ + ".tmp" + std::to_string(::getpid()) + '.' + std::to_string(i);
    file_.descriptor = ::open(name.c_str(), O_WRONLY | O_CLOEXEC | (device ? 0 : O_CREAT | O_EXCL), 0666);
    if (file_.descriptor < 0 && (device || errno != EEXIST)) detail::stopped(path_, "cannot be created: ");
    if (file_.descriptor >= 0 && !device) file_.temporary = name;
  }
  put(header.data(), header.size(), 0);
}

Writer::File::~File() {
  if (descriptor >= 0) ::close(descriptor);
  if (!temporary.empty()) ::unlink(temporary.c_str());
}

// A piece of zeros stays a hole of the new file.
void Writer::put(const void* data, std::size_t bytes, std::uint64_t offset) {
  for (const char* p = static_cast<const char*>(data); bytes > 0;) {
    const std::size_t piece = std::min<std::size_t>(bytes, 1 << 20);
    const bool hole = !file_.temporary.empty() && *p == 0 && std::memcmp(p, p + 1, piece - 1) == 0;
    const ssize_t n = hole ? ssize_t(piece) : ::pwrite(file_.descriptor, p, piece, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) detail::stopped(path_, "cannot be written: ");
    p += n, offset += static_cast<std::uint64_t>(n), bytes -= static_cast<std::size_t>(n);
  }
}

void Writer::append(std::string_view name, const void* data, std::size_t bytes) {
  const TensorInfo* t = detail::lookup(tensors_, by_name_, name);
  if (!t) detail::refuse(Cause::misuse, path_, name, "was not declared");
  std::uint64_t& written = written_[static_cast<std::size_t>(t - tensors_.data())];
  if (bytes > t->bytes() - written)
    detail::refuse(Cause::misuse, path_, name, "more than its " + std::to_string(t->bytes()) + " bytes were given");
  put(data, bytes, header_ + t->begin + written);
  written += bytes;
}

void Writer::commit() {
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    if (const std::uint64_t bytes = tensors_[i].bytes(); written_[i] != bytes)
      detail::refuse(Cause::misuse, path_, tensors_[i].name,
                     std::to_string(written_[i]) + " of its " + std::to_string(bytes) + " bytes were given");
  if (file_.temporary.empty()) return;
  const std::uint64_t size = header_ + (tensors_.empty() ? 0 : tensors_.back().end);
  if (::ftruncate(file_.descriptor, static_cast<off_t>(size)) != 0) detail::stopped(path_, "cannot be written: ");
  if (::fsync(file_.descriptor) != 0) detail::stopped(path_, "cannot be written: ");
  if (::rename(file_.temporary.c_str(), path_.c_str()) != 0) detail::stopped(path_, "cannot be created: ");
  file_.temporary.clear();
  const std::size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  const int parent = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (parent >= 0) ::fsync(parent), ::close(parent);  // makes the new name durable where the file system can
}

}  // namespace sinter::safetensors
#endif  // SINTER_SAFETENSORS_IMPLEMENTATION
